/**
 * RTMR0 to RTMR2 of a TD, event by event: Intel TDX Virtual Firmware Design Guide (344991), chapter 8, and edk2's
 * OvmfPkg/Tcg/TdTcg2Dxe. The events are those of a TPM's PCRs, in the same order; the firmware maps each PCR to a
 * register (UEFI specification 2.10, 38.4.1). RTMR3 is the operating system's.
 */
import { DIGEST_LENGTHS, digest } from '../../base/digest.ts'
import { parseOvmf } from '../../formats/ovmf/firmware.ts'
import { parseUki, ukiSection } from '../../formats/uki.ts'
import { parseVariableStore } from '../../formats/variable-store.ts'
import type { AcpiBlobs } from '../tpm/acpi-events.ts'
import { predictTpm, type TpmBoot } from '../tpm/boot.ts'
import { type BootDevice, bootVariables, qemuBootOrder } from '../tpm/boot-entries.ts'
import { action, eventDigest, known, type PredictedEvent, separator, unknown } from '../tpm/event.ts'
import type { FirmwareCode } from '../tpm/firmware-code.ts'
import { type ImageLoad, ImageLoader } from '../tpm/images.ts'
import type { RegisterPrediction } from '../tpm/registers.ts'
import { secureBootEnforced, secureBootEvents } from '../tpm/secure-boot.ts'
import { kernelEvents, sectionEvents, stubParameters } from '../tpm/stub.ts'
import { type QemuVersion, rewritesSetupHeader, rewrittenKernel } from './setup-header.ts'
import { tdHob } from './td-hob.ts'

export const RTMR_COUNT = 3

export interface TdxMachine {
  /** The whole ROM, as given to -bios; its variable store is where the boot begins. */
  readonly firmware: Uint8Array
  readonly code: FirmwareCode
  /** Bytes; undefined: the TD HOB, and with it RTMR0, is not known. */
  readonly memory?: number
  /** Disks with a `bootindex`, in its order. */
  readonly bootDevices?: readonly BootDevice[]
  readonly acpi?: AcpiBlobs
  /** Absent: 10.2 or newer, which hands kernels over as they are. */
  readonly qemu?: QemuVersion
}

/** A kernel (or UKI) that QEMU hands to the firmware, as `-kernel`, `-initrd`, `-append`. */
export interface DirectKernel {
  /** The file as QEMU is given it. */
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array
  readonly commandLine: string
}

export type DiskBoot = Pick<
  TpmBoot,
  | ('uki' | 'shim' | 'systemdBoot' | 'disk' | 'smbios' | 'addons' | 'companions' | 'bootSecretMixin')
  | ('loadOptions' | 'profile')
>

export interface RtmrPrediction {
  /** In the order of the boot; `pcr` is the register that a TPM would have, `rtmr` the TD's. */
  readonly events: readonly (PredictedEvent & { readonly rtmr: number })[]
  readonly registers: readonly RegisterPrediction[]
}

/** Of a direct boot. Throws FormatError where a material is malformed. */
export function predictDirectBoot(machine: TdxMachine, boot: DirectKernel): RtmrPrediction {
  const store = parseVariableStore(machine.firmware)
  const secureBoot = secureBootEnforced(store, machine.code.features.secureBoot)
  const loader = new ImageLoader(store, { secureBoot })
  const kernel = loadKernel(machine, boot, loader)
  const parameters = isUki(boot.kernel) ? inDirectUki(boot, secureBoot) : directParameters(boot)
  return foldRtmrs([
    ...firmwareEvents(machine),
    ...(kernel.loaded ? kernel.events : refusedKernel(kernel.reason)),
    // The kernel runs before the firmware has looked for devices: there are its own applications only.
    ...entryEvents({ ...machine, bootDevices: [] }, 'applications'),
    action(4, 'Calling EFI Application from Boot Option'),
    separator(4),
    ...(kernel.loaded ? [...parameters, ...exitBootServices()] : []),
  ])
}

function loadKernel(machine: TdxMachine, boot: DirectKernel, loader: ImageLoader): ImageLoad {
  const { qemu, code, memory } = machine
  const asItIs = { what: 'kernel', file: boot.kernel, from: 'uki' } as const
  if (qemu === undefined || !rewritesSetupHeader(qemu, code.volumes)) return loader.load(asItIs)
  const file = rewrittenKernel({ ...boot, ...(memory !== undefined && { memory }) })
  if (file === boot.kernel) return loader.load(asItIs)
  const what = `kernel, with the setup header rewritten by QEMU ${qemu.join('.')}`
  if (file !== undefined) return loader.load({ ...asItIs, what, file })
  const why = 'QEMU writes the place of the initrd into the kernel, and the memory of the TD is not given'
  const type = 'EV_EFI_BOOT_SERVICES_APPLICATION'
  return { loaded: true, events: [{ pcr: 4, type, from: 'uki', what, content: unknown(why) }] }
}

/** OVMF then starts the kernel in another way, or none: none of the materials says which. */
function refusedKernel(reason: string): readonly PredictedEvent[] {
  return [4, 7, 9].map((pcr) => ({
    ...{
      pcr,
      type: 'EV_EFI_BOOT_SERVICES_APPLICATION',
      from: 'uki',
      what: 'what runs in place of the kernel',
    },
    content: unknown(`the firmware refuses the kernel: ${reason}`),
  }))
}

/** Of a UKI on a disk. Throws FormatError where a material is malformed. */
export function predictDiskBoot(machine: TdxMachine, boot: DiskBoot): RtmrPrediction {
  const { firmware, code, acpi, bootDevices } = machine
  const inUki = predictTpm({
    ...{ ...boot, firmware: { ...code, features: { ...code.features, smm: false } }, variables: firmware },
    ...(acpi && { acpi }),
    ...(bootDevices && { bootDevices }),
  }).events
  // What the firmware says before it is ready to boot differs between TD and TPM; from there on it is the same.
  const start = inUki.findIndex(({ type }) => type === 'EV_EFI_GPT_EVENT')
  return foldRtmrs([
    ...firmwareEvents(machine),
    ...entryEvents(machine),
    action(4, 'Calling EFI Application from Boot Option'),
    separator(4),
    ...(start < 0 ? inUki.filter(({ content }) => !content.known) : inUki.slice(start)).map(inTd),
  ])
}

/** The stub measures SMBIOS only where it takes what it finds for a TPM. */
function inTd(event: PredictedEvent): PredictedEvent {
  if (event.from !== 'smbios') return event
  return { ...event, content: unknown('whether the stub measures SMBIOS in a TD depends on its version') }
}

/** What is known where nothing is given that boots: the events before the firmware has looked at anything else. */
export function predictTdStart(machine: Pick<TdxMachine, 'firmware' | 'memory'>): RtmrPrediction {
  const nothing = (pcr: number): PredictedEvent => ({
    ...{ pcr, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', from: 'uki', what: 'what boots' },
    content: unknown('what boots is not given'),
  })
  return foldRtmrs([...startEvents(machine), nothing(1), nothing(4), nothing(9)])
}

function startEvents({
  firmware,
  memory,
}: Pick<TdxMachine, 'firmware' | 'memory'>): readonly PredictedEvent[] {
  const sections = parseOvmf(firmware).tdvfSections()
  const variables = sections.find(({ type }) => type === 'cfv')
  return [
    {
      ...{ pcr: 1, type: 'EV_EFI_HANDOFF_TABLES2', from: 'machine', what: 'TD HOB: memory of the TD' },
      content:
        memory === undefined ? unknown('the memory of the TD is not given') : known(tdHob(sections, memory)),
    },
    {
      ...{
        pcr: 1,
        type: 'EV_EFI_PLATFORM_FIRMWARE_BLOB2',
        from: 'variables',
        what: 'CFV: the variable store',
      },
      content: variables
        ? known(firmware.subarray(variables.dataOffset, variables.dataOffset + variables.dataSize))
        : unknown('the firmware has no configuration volume'),
    },
  ]
}

function firmwareEvents(machine: TdxMachine): readonly PredictedEvent[] {
  const { firmware, code } = machine
  return [
    ...startEvents(machine),
    ...(measuresFwCfg(firmware) ? fwCfgEvents(machine.bootDevices) : []),
    ...secureBootEvents(parseVariableStore(firmware), code.features.secureBoot),
    ...acpiEventsOfTd(machine.acpi),
  ]
}

/** Without a TPM there is no blob for its log among the tables. */
function acpiEventsOfTd(blobs: AcpiBlobs | undefined): readonly PredictedEvent[] {
  return (['loader', 'rsdp', 'tables'] as const).map((name) => ({
    ...{ pcr: 1, type: 'EV_PLATFORM_CONFIG_FLAGS', from: 'acpi', what: `ACPI DATA, ${name}` },
    content: blobs
      ? known(blobs[name])
      : unknown('the ACPI tables that QEMU makes for the machine are not at hand'),
  }))
}

/** Name of the event in builds that measure what they take from QEMU's fw_cfg (edk2, QemuFwCfgCacheInit.c). */
const FW_CFG_EVENT = Buffer.from('QEMU FW CFG\0')

function measuresFwCfg(firmware: Uint8Array): boolean {
  return Buffer.from(firmware.buffer, firmware.byteOffset, firmware.length).includes(FW_CFG_EVENT)
}

/** Files that the harness's command line does not make are not there, and so not measured. */
function fwCfgEvents(devices: readonly BootDevice[] | undefined): readonly PredictedEvent[] {
  const event = (name: string, content: PredictedEvent['content']): PredictedEvent => ({
    ...{ pcr: 1, type: 'EV_PLATFORM_CONFIG_FLAGS', from: 'machine', what: `QEMU FW CFG, ${name}`, content },
  })
  const menu = event('BootMenu', known(Buffer.alloc(2)))
  if (devices === undefined) return [menu, event('bootorder', unknown('the boot devices are not given'))]
  const order = qemuBootOrder(devices)
  return order === '' ? [menu] : [menu, event('bootorder', known(order))]
}

function entryEvents(
  { firmware, code, bootDevices }: TdxMachine,
  entries: 'all' | 'applications' = 'all',
): readonly PredictedEvent[] {
  const event = (what: string, content: PredictedEvent['content']): PredictedEvent => ({
    ...{ pcr: 1, type: 'EV_EFI_VARIABLE_BOOT', from: 'variables', what, content },
  })
  if (bootDevices === undefined)
    return [event('BootOrder and boot entries', unknown('the boot devices are not given'))]
  const store = parseVariableStore(firmware)
  const shell = entries === 'all' && code.features.shell
  return bootVariables({ store, devices: bootDevices, shell }).map(({ name, data }) =>
    event(`variable ${name}, ${data.length} bytes`, known(data)),
  )
}

/** What the kernel measures of what OVMF passes on; OVMF names the initrd on the command line. */
function directParameters({ initrd, commandLine }: DirectKernel): readonly PredictedEvent[] {
  const line = initrd ? `${commandLine} initrd=initrd` : commandLine
  const tagged = (what: string, content: Uint8Array): PredictedEvent => ({
    ...{ pcr: 9, type: 'EV_EVENT_TAG', from: 'uki', what, content: known(content) },
  })
  return [
    tagged(`command line "${line}"`, Buffer.from(`${line}\0`, 'utf16le')),
    ...(initrd ? [tagged('initrd', initrd)] : []),
  ]
}

function isUki(kernel: Uint8Array): boolean {
  return ukiSection(parseUki(kernel), '.linux') !== undefined
}

/** The stub finds no ESP: no companions, and no boot secret. The command line of `-append` is its load options. */
export function inDirectUki(
  { kernel, initrd, commandLine }: DirectKernel,
  secureBoot: boolean,
): readonly PredictedEvent[] {
  const uki = parseUki(kernel)
  const stub = stubParameters({
    ...{ uki, secureBoot, addons: [], companions: {}, profile: 0, bootSecret: { kind: 'none' } },
    ...{ loadOptions: initrd ? `${commandLine} initrd=initrd` : commandLine, previousInitrd: initrd },
  })
  return [...sectionEvents(uki), ...stub.events, ...kernelEvents(stub)]
}

/** At the first try: nothing that would change the map of the memory has been started yet. */
function exitBootServices(): readonly PredictedEvent[] {
  return [action(5, 'Exit Boot Services Invocation'), action(5, 'Exit Boot Services Returned with Success')]
}

/** UEFI specification 2.10, table 38.4.1; PCR 0 is MRTD's, which nothing extends. */
function rtmrOf(pcr: number): number {
  if (pcr === 1 || pcr === 7) return 0
  return pcr < 8 ? 1 : 2
}

export function foldRtmrs(boot: readonly PredictedEvent[]): RtmrPrediction {
  const events = boot
    .filter(({ pcr, type }) => pcr !== 0 && type !== 'runtime')
    .map((event) => ({ ...event, rtmr: rtmrOf(event.pcr) }))
  const registers = Array.from({ length: RTMR_COUNT }, (_, index): RegisterPrediction => {
    const own = events.filter(({ rtmr }) => rtmr === index)
    const reasons = [...new Set(own.flatMap(({ content }) => (content.known ? [] : [content.reason])))]
    if (reasons.length > 0) return { index, known: false, reasons }
    const value = own.reduce<Buffer>(
      (old, event) => digest('sha384', old, eventDigest(event, 'sha384') ?? ''),
      Buffer.alloc(DIGEST_LENGTHS.sha384),
    )
    return { index, known: true, value }
  })
  return { events, registers }
}
