/**
 * PCR 0 to 15 of a UKI's boot under OVMF, event by event, from the materials alone. The order of events within a
 * register is that of the boot; it decides the value.
 */
import type { DigestAlgorithm } from '../../base/digest.ts'
import { parseUki, type Uki, ukiSection } from '../../formats/uki.ts'
import type { VariableStore } from '../../formats/variable-store.ts'
import { parseVariableStore } from '../../formats/variable-store.ts'
import { type AcpiBlobs, acpiEvents } from './acpi-events.ts'
import { type BootDevice, bootVariables, qemuBootOrder } from './boot-entries.ts'
import { configurationEvents, profileEvents, type SystemdBoot } from './boot-loader.ts'
import { bootSecret } from './boot-secret.ts'
import { action, type PredictedEvent, separator, unknown } from './event.ts'
import { type FirmwareCode, firmwareCodeEvents } from './firmware-code.ts'
import { gptEvent } from './gpt-event.ts'
import { ImageLoader, type LoadedImage } from './images.ts'
import { foldRegisters, type RegisterPrediction } from './registers.ts'
import { secureBootEnforced, secureBootEvents } from './secure-boot.ts'
import { loadThroughShim } from './shim.ts'
import { smbiosTableEvent, stubSmbiosEvents } from './smbios-events.ts'
import { type SmmMachine, smmLayout } from './smm-relocation.ts'
import {
  type Addon,
  kernelEvents,
  type ParsedAddon,
  phaseEvents,
  sectionEvents,
  stubParameters,
} from './stub.ts'
import type { Companions } from './stub-initrd.ts'
import { variableEvent } from './variable-event.ts'

export interface TpmBoot {
  /** Parsed once for any number of boots: decompressing takes most of the time. */
  readonly firmware: FirmwareCode
  /** The variable store as it is before the boot: a VARS file, or the combined image of a build for `-bios`. */
  readonly variables: Uint8Array
  readonly uki: Uint8Array
  /** What the firmware boots in place of the UKI, and boots the UKI; no addons then. */
  readonly shim?: Uint8Array
  /** What the firmware boots in place of the UKI, and has it load the UKI; not with shim. */
  readonly systemdBoot?: SystemdBoot
  /** Start of the disk, with its partition table; undefined: PCR 5 is not known. */
  readonly disk?: Uint8Array
  readonly machine?: SmmMachine
  /** Disks with a `bootindex`, in its order; undefined: PCR 1 is not known. */
  readonly bootDevices?: readonly BootDevice[]
  readonly acpi?: AcpiBlobs
  /** Without its entry point, as /sys/firmware/dmi/tables/DMI has it. */
  readonly smbios?: Uint8Array
  /** Addons in loader/addons, and beside the UKI. */
  readonly addons?: { readonly global?: readonly Addon[]; readonly local?: readonly Addon[] }
  readonly companions?: Companions
  /** loader/boot-secret-mixin of the ESP; undefined: PCR 9 is not known where the stub has a boot secret. */
  readonly bootSecretMixin?: Uint8Array
  /** Command line from the boot entry; systemd-boot passes none but the profile. */
  readonly loadOptions?: string
  readonly smbiosCommandLine?: string
  /** Of a UKI with several; default 0. */
  readonly profile?: number
  /** Phases that systemd-pcrextend has reached: enter-initrd, leave-initrd, sysinit, ready. */
  readonly phases?: readonly string[]
}

export interface TpmPrediction {
  /** In the order of the boot. */
  readonly events: readonly PredictedEvent[]
  readonly secureBoot: boolean
  /** Why the firmware, or shim, will not run the UKI; undefined where it will. */
  readonly refused: string | undefined
  readonly refusedBy: 'firmware' | 'shim' | undefined
  /** Registers 0 to 15. */
  readonly registers: (algorithm: DigestAlgorithm) => readonly RegisterPrediction[]
}

/** Throws FormatError where a material is malformed. */
export function predictTpm(boot: TpmBoot): TpmPrediction {
  const store = parseVariableStore(boot.variables)
  const { features } = boot.firmware
  const secureBoot = secureBootEnforced(store, features.secureBoot)
  const loader = new ImageLoader(store, { secureBoot })
  const load = loadUki(boot, { store, loader, secureBoot })
  const events = [
    ...beforeBoot(boot, store),
    ...load.events,
    ...(load.refusal ? refusedEvents(load.refusal) : inUki(boot, { store, loader, secureBoot })),
  ]
  return {
    ...{ events, secureBoot, refused: load.refusal?.reason, refusedBy: load.refusal?.by },
    registers: (algorithm) => foldRegisters(events, algorithm),
  }
}

interface Refusal {
  readonly by: 'firmware' | 'shim'
  readonly reason: string
}

interface Loading {
  readonly store: VariableStore
  readonly loader: ImageLoader
  readonly secureBoot: boolean
}

/** Up to the first instruction of the UKI, or to its refusal. */
function loadUki(
  boot: TpmBoot,
  { store, loader, secureBoot }: Loading,
): { readonly events: readonly PredictedEvent[]; readonly refusal?: Refusal } {
  const { shim, systemdBoot, uki, profile = 0 } = boot
  const first = loader.load(firstProgram(boot))
  if (!first.loaded) return { events: [], refusal: { by: 'firmware', reason: first.reason } }
  const events = [gpt(boot.disk), ...first.events]
  if (systemdBoot) {
    const before = [...events, ...configurationEvents(systemdBoot)]
    const next = loader.load({ what: 'UKI', file: uki, from: 'uki' })
    return next.loaded
      ? { events: [...before, ...next.events, ...profileEvents(profile)] }
      : { events: before, refusal: { by: 'firmware', reason: next.reason } }
  }
  if (shim === undefined) return { events }
  const second = loadThroughShim({ shim, uki, store, secureBoot })
  return {
    events: [...events, ...second.events],
    ...(!second.loaded && { refusal: { by: 'shim', reason: second.reason } }),
  }
}

function firstProgram({ shim, systemdBoot, uki }: TpmBoot): LoadedImage {
  if (shim) return { what: 'shim', file: shim, from: 'shim' }
  if (systemdBoot) return { what: 'systemd-boot', file: systemdBoot.file, from: 'loader' }
  return { what: 'UKI', file: uki, from: 'uki' }
}

/** The platform firmware up to the point where it is ready to boot. */
function beforeBoot(boot: TpmBoot, store: VariableStore): readonly PredictedEvent[] {
  const { firmware, machine, bootDevices } = boot
  const { features } = firmware
  const bootOrderBytes = bootDevices && Buffer.byteLength(qemuBootOrder(bootDevices))
  const smm =
    machine && bootOrderBytes !== undefined
      ? smmLayout(firmware.volumes[0], { ...machine, bootOrderBytes })
      : undefined
  const smbios = features.smbiosMeasurement ? [smbiosTableEvent(boot.smbios)] : []
  const entries: readonly PredictedEvent[] =
    bootDevices === undefined
      ? [
          {
            ...{
              pcr: 1,
              type: 'EV_EFI_VARIABLE_BOOT',
              from: 'variables',
              what: 'BootOrder and boot entries',
            },
            content: unknown('the devices that the firmware makes boot entries for are not given'),
          },
        ]
      : bootVariables({ store, devices: bootDevices, shell: features.shell }).map((variable) =>
          variableEvent(1, 'EV_EFI_VARIABLE_BOOT', variable),
        )
  return [
    ...firmwareCodeEvents(firmware, smm),
    ...secureBootEvents(store, features.secureBoot),
    ...acpiEvents(boot.acpi),
    // Both wait for "ready to boot"; who asked later is told first, and with SMM the variables come late.
    ...(features.smm ? [] : smbios),
    ...entries,
    action(4, 'Calling EFI Application from Boot Option'),
    ...[0, 1, 2, 3, 4, 5, 6].map(separator),
    ...(features.smm ? smbios : []),
  ]
}

/** From the stub's first instruction to the kernel's. */
function inUki(boot: TpmBoot, { store, loader, secureBoot }: Loading): readonly PredictedEvent[] {
  const { profile = 0, companions = {}, phases = [] } = boot
  const version = stubVersion(boot.uki)
  const uki = parseUki(boot.uki, { profile })
  const { addons, events } = loadAddons(boot, { loader, uki })
  const stub = stubParameters({
    ...{ uki, secureBoot, addons, companions, profile },
    bootSecret:
      version >= FIRST_WITH_BOOT_SECRET
        ? bootSecret({ store, uki, mixin: boot.bootSecretMixin })
        : { kind: 'none' },
    loadOptions: boot.loadOptions,
    smbiosCommandLine: boot.smbiosCommandLine,
  })
  return [
    ...stub.profile,
    ...sectionEvents(uki),
    ...events,
    ...stub.events,
    ...(version >= FIRST_WITH_SMBIOS ? stubSmbiosEvents(boot.smbios) : []),
    ...kernelEvents(stub),
    ...exitBootServices(),
    ...phaseEvents(phases),
    IMA,
  ]
}

function loadAddons(
  { addons = {} }: TpmBoot,
  { loader, uki }: { loader: ImageLoader; uki: Uki },
): { readonly addons: readonly ParsedAddon[]; readonly events: readonly PredictedEvent[] } {
  const taken: ParsedAddon[] = []
  const events: PredictedEvent[] = []
  for (const { name, file } of [...sorted(addons.global), ...sorted(addons.local)]) {
    const load = loader.load({ what: `addon ${name}`, file, from: 'addons' })
    if (!load.loaded) continue
    events.push(...load.events)
    const sections = parseUki(file)
    if (isTaken(sections, uki)) taken.push({ name, sections })
  }
  return { addons: taken, events }
}

function sorted(addons: readonly Addon[] = []): readonly Addon[] {
  return addons.toSorted((left, right) => (left.name < right.name ? -1 : 1))
}

/** An addon has no kernel, and where it names one it is that of the UKI. */
function isTaken(addon: Uki, uki: Uki): boolean {
  const own = ukiSection(uki, '.uname')
  const wanted = ukiSection(addon, '.uname')
  const fits = !own || !wanted || Buffer.compare(own, wanted) === 0
  return fits && ukiSection(addon, '.linux') === undefined
}

/**
 * The kernel asks twice: its first map of the memory is out of date when the firmware has told its drivers of the end,
 * and each answer is measured.
 */
export function exitBootServices(): readonly PredictedEvent[] {
  return [
    action(5, 'Exit Boot Services Invocation'),
    action(5, 'Exit Boot Services Returned with Failure'),
    action(5, 'Exit Boot Services Invocation'),
    action(5, 'Exit Boot Services Returned with Success'),
  ]
}

function gpt(disk: Uint8Array | undefined): PredictedEvent {
  if (disk !== undefined) return gptEvent(disk)
  return {
    ...{ pcr: 5, type: 'EV_EFI_GPT_EVENT', from: 'disk', what: 'partition table' },
    content: unknown('the disk that is booted from is not given'),
  }
}

/** What comes then is the next entry of the boot order or a menu: none of the materials. */
function refusedEvents({ by, reason }: Refusal): readonly PredictedEvent[] {
  return [1, 4, 5, 7, 9, 11, 12, 13].map((pcr) => ({
    ...{ pcr, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', from: 'uki', what: 'what runs in place of the UKI' },
    content: unknown(`${by === 'shim' ? 'shim' : 'the firmware'} refuses the UKI: ${reason}`),
  }))
}

const STUB_MARK = '#### LoaderInfo: systemd-stub '
/** The first systemd whose stub measures SMBIOS structures, and hands on a boot secret. */
const FIRST_WITH_SMBIOS = 261
const FIRST_WITH_BOOT_SECRET = 262

/** Major version that the stub carries in its .sdmagic section; 0 for another stub. */
function stubVersion(uki: Uint8Array): number {
  const bytes = Buffer.from(uki.buffer, uki.byteOffset, uki.length)
  const at = bytes.indexOf(STUB_MARK)
  if (at < 0) return 0
  const digits = /^\d+/.exec(bytes.toString('latin1', at + STUB_MARK.length, at + STUB_MARK.length + 8))
  return Number(digits?.[0] ?? 0)
}

const IMA: PredictedEvent = {
  ...{ pcr: 10, type: 'runtime', from: 'uki', what: 'integrity measurement architecture of the kernel' },
  content: unknown('the kernel extends it by its IMA policy, at run time'),
}
