/**
 * What shim, GRUB, systemd-boot, systemd-stub and Linux's own stub measured: UKI sections (PCR 11), command lines and
 * additions (PCR 8, 12, 13), Linux's load options and initrd (PCR 9), shim's lists (PCR 14).
 * systemd's docs/TPM2_PCR_MEASUREMENTS.md; Linux drivers/firmware/efi/libstub; GRUB manual, "Measured boot".
 */

import { isUtf8 } from 'node:buffer'
import { parseTaggedEvent } from '../../formats/event-log/efi-events.ts'
import type { LogEvent } from '../../formats/event-log/event.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { type LogView, type Reading, wellFormed } from './view.ts'

const NUL = Buffer.alloc(1)
const MAX_TEXT_BYTES = 64 * 1024

/** A section that systemd-stub measured. */
export interface UkiSection {
  /** With its dot: ".linux". */
  readonly name: string
  /** Of the section at its virtual size. */
  readonly digest: Uint8Array
}

/** A kernel command line that was measured. Systemd, docs/TPM2_PCR_MEASUREMENTS.md (PCR 12). */
export interface CommandLine {
  readonly by: 'systemd' | 'grub'
  /** Without a trailing NUL. Text of the guest: escape it. */
  readonly text: string
}

/**
 * Something that was added to what the UKI brought: its digest is hashed, what the log calls it is not. Systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md (PCR 12, 13).
 */
export interface Addition {
  readonly labelHint: AdditionLabel
  readonly descriptionHint: string
  readonly digest: Uint8Array
}

const TAGS = {
  4122761258: 'loader-conf',
  1816590161: 'devicetree-addon',
  1239416335: 'initrd-addon',
  3670052378: 'ucode-addon',
  3586882748: 'smbios-system',
  3772021704: 'smbios-baseboard',
  3233004835: 'smbios-oem-strings',
  2403017453: 'linux-load-options',
  2403017452: 'linux-initrd',
} as const
/**
 * What the log calls it; nobody hashes that. Systemd, docs/TPM2_PCR_MEASUREMENTS.md; Linux,
 * drivers/firmware/efi/libstub.
 */
export type AdditionLabel =
  | (typeof TAGS)[keyof typeof TAGS]
  | 'initrd'
  | 'tagged'
  | 'shim-list'
  | 'file'
  | 'other'

/**
 * What boot loaders and stubs measured. PCR 8, 9 and 11 to 13. Systemd, docs/TPM2_PCR_MEASUREMENTS.md; GRUB manual,
 * "Measured boot".
 */
export interface BootLoaderReading {
  /** In the order of measuring. In a TD other parts of RTMR2 stand between them. */
  readonly ukiSections: readonly Reading<UkiSection>[]
  readonly commandLines: readonly Reading<CommandLine>[]
  /** Every other event of PCR 5, 8, 9, 12, 13 and 14. To know a command line is the only one, judge these too. */
  readonly additions: readonly Reading<Addition>[]
  /** GRUB's commands, as it read them. */
  readonly grubCommands: readonly Reading<string>[]
}

/**
 * Never throws; what has no meaning here stays unexplained. Systemd, docs/TPM2_PCR_MEASUREMENTS.md; GRUB manual,
 * "Measured boot".
 */
export function readBootLoader(view: LogView): BootLoaderReading {
  const ukiSections = readUkiSections(view)
  const told = new Set(ukiSections.flatMap(({ event, value }) => [event, value.nameEvent]))
  const events = uniqueEvents(view, [1, 5, 8, 9, 12, 13, 14]).filter(([, { number }]) => !told.has(number))
  const grub = events.flatMap(([pcr, event]) => readGrub(view, pcr, event))
  const stub = events.flatMap(([pcr, event]) => readStubCommandLine(view, pcr, event))
  const text = new Set([...grub, ...stub].map(({ event }) => event))
  const rest = events.filter(([, { number }]) => !text.has(number))
  return {
    ukiSections: ukiSections.map(({ value: { name, digest }, ...reading }) => ({
      ...reading,
      value: { name, digest },
    })),
    commandLines: [
      ...stub,
      ...grub.flatMap(({ value, ...reading }) =>
        value.commandLine ? [{ ...reading, value: value.commandLine }] : [],
      ),
    ].sort((left, right) => left.event - right.event),
    additions: rest.flatMap(([pcr, event]) => readAddition(view, pcr, event)),
    grubCommands: grub.flatMap(({ value, ...reading }) =>
      value.command === undefined ? [] : [{ ...reading, value: value.command }],
    ),
  }
}

/** In a TD several PCRs are one register: the first that names an event has it. */
function uniqueEvents(view: LogView, pcrs: readonly number[]): readonly (readonly [number, LogEvent])[] {
  const found = new Map<number, readonly [number, LogEvent]>()
  for (const pcr of pcrs)
    for (const event of view.eventsOf(pcr))
      if (!found.has(event.number)) found.set(event.number, [pcr, event])
  return [...found.values()].sort(([, left], [, right]) => left.number - right.number)
}

/**
 * Pairs of events with the same description: the first is over the section's name in ASCII with its NUL, the second
 * over its content. Without the first, nothing says that a digest belongs to a section.
 */
function readUkiSections(view: LogView): readonly Reading<UkiSection & { readonly nameEvent: number }>[] {
  const events = view.eventsOf(11).filter(({ type }) => type === EV.IPL)
  return events.flatMap((event, index) => {
    const next = events[index + 1]
    const name = sectionName(event)
    if (!name || !next || sectionName(next) !== name) return []
    if (!view.isDigestOf(event, Buffer.from(`${name}\0`, 'latin1'))) return []
    const nameEvent = view.fromDigest(11, event, event.number).value
    return [view.fromDigest(11, next, { name, digest: view.digestOf(next), nameEvent })]
  })
}

/** At most 8 ASCII characters after the rule of PE files, in UTF-16. */
function sectionName({ data }: LogEvent): string | undefined {
  if (data.length < 4 || data.length > 20) return undefined
  const name = utf16(data)
  return /^\.[a-z]{1,8}$/.test(name) ? name : undefined
}

/** PCR 12, and PCR 8 of systemd-boot before 252: the text in UTF-16, hashed with, without, or with half of its NUL. */
function readStubCommandLine(view: LogView, pcr: number, event: LogEvent): readonly Reading<CommandLine>[] {
  const { type, data } = event
  if (type !== EV.IPL || ![8, 12].includes(pcr) || data.length > MAX_TEXT_BYTES) return []
  // Text in ASCII is no command line of the stub's: GRUB's, or something that has yet to be named.
  if (data[1] !== 0) return []
  const ended = data.at(-1) === 0 && data.at(-2) === 0
  const forms = [data, Buffer.concat([data, NUL]), ...(ended ? [data.subarray(0, -2)] : [])]
  const text = wholeUtf16(data)
  if (text === undefined || !forms.some((form) => view.isDigestOf(event, form))) return []
  return [view.fromDigest(pcr, event, { by: 'systemd', text })]
}

interface GrubText {
  readonly command?: string
  readonly commandLine?: CommandLine
}

/** PCR 8: "grub_cmd: …" and "kernel_cmdline: …"; the prefix and the NUL are not hashed. */
function readGrub(view: LogView, pcr: number, event: LogEvent): readonly Reading<GrubText>[] {
  const { type, data } = event
  if (type !== EV.IPL || pcr !== 8 || data.length > MAX_TEXT_BYTES) return []
  const text = Buffer.from(data).toString('utf8').replace(/\0$/, '')
  // What is shown must be what was hashed, to the last byte.
  if (text.includes('\0') || !isUtf8(data)) return []
  const found = ['grub_cmd: ', 'kernel_cmdline: ', 'module_cmdline: '].find((prefix) =>
    text.startsWith(prefix),
  )
  if (!found || !isDigestOfTail(view, event, found.length)) return []
  const rest = text.slice(found.length)
  const value =
    found === 'kernel_cmdline: '
      ? { commandLine: { by: 'grub', text: rest } as const }
      : { command: `${found === 'module_cmdline: ' ? 'module ' : ''}${rest}` }
  return [view.fromDigest(pcr, event, value)]
}

function isDigestOfTail(view: LogView, event: LogEvent, prefix: number): boolean {
  const tail = event.data.subarray(prefix)
  return view.isDigestOf(event, tail.at(-1) === 0 ? tail.subarray(0, -1) : tail)
}

/** Tagged events, the stub's archives, what GRUB read, shim's lists: known by their digest alone. */
function readAddition(view: LogView, pcr: number, event: LogEvent): readonly Reading<Addition>[] {
  const { type, data } = event
  if (type === EV.EVENT_TAG) {
    const tagged = wellFormed(() => parseTaggedEvent(data))
    if (!tagged) return []
    const labelHint = (TAGS as Readonly<Record<number, AdditionLabel>>)[tagged.id] ?? 'tagged'
    return [addition(view, { pcr, event, labelHint, description: tagged.data })]
  }
  if (type !== EV.IPL) return []
  const labelHint =
    data[1] === 0 ? 'initrd' : pcr === 14 || isShimList(data) ? 'shim-list' : pcr === 9 ? 'file' : 'other'
  return [addition(view, { pcr, event, labelHint, description: data })]
}

function isShimList(data: Uint8Array): boolean {
  return Buffer.from(data.subarray(0, 7)).toString('latin1') === 'MokList'
}

function addition(
  view: LogView,
  found: {
    readonly pcr: number
    readonly event: LogEvent
    readonly labelHint: AdditionLabel
    readonly description: Uint8Array
  },
): Reading<Addition> {
  const { pcr, event, labelHint, description } = found
  const shown = description.subarray(0, 1024)
  const descriptionHint =
    shown[1] === 0 ? utf16(shown) : Buffer.from(shown).toString('latin1').replace(/\0.*$/s, '')
  return view.fromDigest(pcr, event, { labelHint, descriptionHint, digest: view.digestOf(event) })
}

/** All of the text: nothing may hide behind a NUL. The last NUL, or half of it, is not part of it. */
function wholeUtf16(data: Uint8Array): string | undefined {
  const even = data.length % 2 === 0 ? data : data.at(-1) === 0 ? data.subarray(0, -1) : undefined
  const text = even && Buffer.from(even).toString('utf16le').replace(/\0$/, '')
  return text?.includes('\0') ? undefined : text
}

/** Up to the first NUL: for hints. */
function utf16(data: Uint8Array): string {
  const text = Buffer.from(data).toString('utf16le')
  const end = text.indexOf('\0')
  return end < 0 ? text : text.slice(0, end)
}
