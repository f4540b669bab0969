/**
 * How the firmware came to the operating system: boot entries (PCR 1), images (PCR 2, 4), disks and actions (PCR 4, 5).
 */
import { digest, equalBytes } from '../../base/digest.ts'
import { devicePathText } from '../../formats/device-path.ts'
import {
  type GptEvent,
  parseGptEvent,
  parseImageLoadEvent,
  parseVariableEvent,
} from '../../formats/event-log/efi-events.ts'
import type { LogEvent } from '../../formats/event-log/event.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import {
  bootEntryNumber,
  type LoadOption,
  parseBootNumbers,
  parseLoadOption,
} from '../../formats/load-option.ts'
import { type LogView, type Reading, wellFormed } from './view.ts'

/** A failure is followed by another try: a success anywhere is the end. */
const EXIT_ANSWERS = [
  [Buffer.from('Exit Boot Services Returned with Success'), 'returned'],
  [Buffer.from('Exit Boot Services Returned with Failure'), 'failed'],
  [Buffer.from('Exit Boot Services Invocation'), 'invoked'],
] as const
const ACTION_TYPES: readonly number[] = [EV.EFI_ACTION, EV.ACTION]
const MAX_ACTION_CHARACTERS = 256

/** Most firmware hashes a boot variable's data without its name: then the name is what the guest calls it. */
interface NamedVariable {
  readonly nameCovered: boolean
}

/** BootOrder: UEFI 2.10, "Globally Defined Variables". */
export interface BootOrder extends NamedVariable {
  readonly entries: readonly number[]
}

/** A boot option: UEFI 2.10, 3.1.3 (Load Options). */
export interface BootEntry extends NamedVariable {
  /** 7 for Boot0007. */
  readonly number: number
  /** Undefined where the variable is no load option. */
  readonly option: LoadOption | undefined
}

/** An image that the firmware loaded: PFP 1.06, EV_EFI_BOOT_SERVICES_APPLICATION and its kin. */
export interface LoadedImage {
  /** The event's type: not hashed. */
  readonly kindHint: 'application' | 'driver' | 'runtime-driver'
  /** Authenticode digest in the bank's algorithm; of a driver in firmware, of its bytes. */
  readonly digest: Uint8Array
  /** Where the firmware says it came from. Never hashed: a hint for people. Text of the guest: escape it. */
  readonly pathHint: string | undefined
}

/** How the firmware came to the operating system. PFP 1.06, PCR 0 to 5. */
export interface BootPathReading {
  /** The first of each: what the firmware had before anything else ran. */
  readonly bootOrder: Reading<BootOrder> | undefined
  readonly bootEntries: readonly Reading<BootEntry>[]
  /** In the order of loading. Software that runs later can add to it, and take nothing away: judge all of it. */
  readonly images: readonly Reading<LoadedImage>[]
  readonly partitionTables: readonly Reading<GptEvent>[]
  /** EV_EFI_ACTION and EV_ACTION, as they are: "Calling EFI Application from Boot Option". Escape before showing. */
  readonly actions: readonly Reading<string>[]
  /**
   * Undefined where the log has none of its events. That it has is no proof that nothing was measured on the loader's
   * behalf later: software that runs can extend the same strings.
   */
  readonly exitBootServices: Reading<'invoked' | 'returned' | 'failed'> | undefined
}

/** Never throws; malformed events stay unexplained. PFP 1.06, "PCR Usage". */
export function readBootPath(view: LogView): BootPathReading {
  const variables = view.eventsOf(1).flatMap((event) => readBootVariable(view, event))
  const actions = [1, 2, 4, 5, 7].flatMap((pcr) => readActions(view, pcr))
  const inOrder = [...new Map(actions.map((action) => [action.event, action])).values()].sort(byEvent)
  return {
    bootOrder: variables.flatMap(({ order }) => order ?? [])[0],
    bootEntries: variables.flatMap(({ entry }) => entry ?? []),
    images: uniqueEvents(
      [2, 4].flatMap((pcr) => view.eventsOf(pcr).flatMap((event) => readImage(view, pcr, event))),
    ),
    partitionTables: uniqueEvents(
      [4, 5].flatMap((pcr) => view.eventsOf(pcr).flatMap((event) => readGpt(view, pcr, event))),
    ),
    actions: inOrder,
    exitBootServices: readExit(view),
  }
}

const byEvent = (left: Reading<unknown>, right: Reading<unknown>): number => left.event - right.event

/** In a TD several PCRs are one register: an event is told once. */
function uniqueEvents<Value>(readings: readonly Reading<Value>[]): readonly Reading<Value>[] {
  return [...new Map(readings.map((reading) => [reading.event, reading])).values()].sort(byEvent)
}

interface BootVariable {
  readonly order?: Reading<BootOrder>
  readonly entry?: Reading<BootEntry>
}

function readBootVariable(view: LogView, event: LogEvent): readonly BootVariable[] {
  if (event.type !== EV.EFI_VARIABLE_BOOT && event.type !== EV.EFI_VARIABLE_BOOT2) return []
  const variable = wellFormed(() => parseVariableEvent(event.data))
  if (!variable) return []
  const { name, data } = variable
  const nameCovered = view.fromData(1, event, name).covered
  if (name === 'BootOrder') {
    const entries = wellFormed(() => parseBootNumbers(data))
    return entries ? [{ order: view.fromData(1, event, { entries, nameCovered }, 'part') }] : []
  }
  const number = bootEntryNumber(name)
  if (number === undefined) return []
  const option = wellFormed(() => parseLoadOption(data))
  return [{ entry: view.fromData(1, event, { number, nameCovered, option }, 'part') }]
}

const IMAGE_KINDS: ReadonlyMap<number, LoadedImage['kindHint']> = new Map([
  [EV.EFI_BOOT_SERVICES_APPLICATION, 'application'],
  [EV.EFI_BOOT_SERVICES_DRIVER, 'driver'],
  [EV.EFI_RUNTIME_SERVICES_DRIVER, 'runtime-driver'],
])

function readImage(view: LogView, pcr: number, event: LogEvent): readonly Reading<LoadedImage>[] {
  const kindHint = IMAGE_KINDS.get(event.type)
  if (!kindHint) return []
  const path = wellFormed(() => parseImageLoadEvent(event.data).path)
  const pathHint = path && wellFormed(() => devicePathText(path))
  return [view.fromDigest(pcr, event, { kindHint, digest: view.digestOf(event), pathHint })]
}

function readGpt(view: LogView, pcr: number, event: LogEvent): readonly Reading<GptEvent>[] {
  if (event.type !== EV.EFI_GPT_EVENT && event.type !== EV.EFI_GPT_EVENT2) return []
  const table = wellFormed(() => parseGptEvent(event.data))
  return table ? [view.fromData(pcr, event, table)] : []
}

function readActions(view: LogView, pcr: number): readonly Reading<string>[] {
  const actions = view
    .eventsOf(pcr)
    .filter((event) => ACTION_TYPES.includes(event.type) && isText(event.data))
  return actions.map((event) => view.fromData(pcr, event, Buffer.from(event.data).toString('latin1')))
}

/** Printable ASCII of a length that people read. */
function isText(data: Uint8Array): boolean {
  return data.length <= MAX_ACTION_CHARACTERS && data.every((byte) => byte >= 0x20 && byte < 0x7f)
}

/**
 * Known by their digests: a type can be forged, and the end must not be hidden.
 */
function readExit(view: LogView): BootPathReading['exitBootServices'] {
  const events = view.eventsOf(5)
  for (const [text, value] of EXIT_ANSWERS) {
    const measured = digest(view.bank, text)
    const event = events.find((each) => equalBytes(view.digestOf(each), measured))
    if (event) return view.fromDigest(5, event, value)
  }
  return undefined
}
