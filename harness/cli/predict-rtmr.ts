/** The registers of a TD for `attestbed predict tdx`, where what boots is given. */
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import type { MeasuredDocument } from '../measure/documents/document.ts'
import { type RtmrFields, rtmrFields } from '../measure/documents/rtmr-prediction.ts'
import {
  predictDirectBoot,
  predictDiskBoot,
  predictTdStart,
  type RtmrPrediction,
  type TdxMachine,
} from '../measure/tdx/rtmr.ts'
import type { QemuVersion } from '../measure/tdx/setup-header.ts'
import { parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import { paletteFor } from '../report/palette.ts'
import { FILE_LIMITS, readMaterial } from './material-files.ts'
import { acpiOf, devicesOf, diskStart, machineInputs } from './measured-files.ts'
import { eventLine } from './output.ts'

export interface RtmrFlags {
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly qemu?: string
  readonly uki?: string
  readonly disk?: string
  readonly bootSlot?: readonly string[]
  readonly acpi?: string
}

export interface TdStart {
  readonly firmware: Uint8Array
  readonly memory: number | undefined
}

type Inputs = NonNullable<MeasuredDocument['inputs']>

export interface PredictedRtmrs {
  readonly registers: RtmrFields
  /** What of the flags the registers come from, but for firmware and memory. */
  readonly inputs: Inputs
}

/** Where nothing that boots is given: the events that come before it. Throws UsageError and FormatError. */
export async function predictRtmrs(flags: RtmrFlags, start: TdStart): Promise<PredictedRtmrs> {
  refuseStrayFlags(flags)
  const { kernel, uki } = flags
  const { firmware, memory } = start
  if (kernel === undefined && uki === undefined)
    return {
      registers: rtmrFields(predictTdStart({ firmware, ...(memory !== undefined && { memory }) })),
      inputs: {},
    }
  const { machine, disk, inputs } = await machineOf(flags, start)
  const booted =
    uki === undefined ? await directBoot(machine, flags, kernel ?? '') : await diskBoot(machine, uki, disk)
  return { registers: rtmrFields(booted.prediction), inputs: { ...inputs, ...booted.inputs } }
}

/** A flag that would change nothing was meant to change something. */
function refuseStrayFlags({ kernel, uki, ...flags }: RtmrFlags): void {
  const bad = (words: string) => new UsageError(words, { code: 'bad-value' })
  if (kernel !== undefined && uki !== undefined)
    throw bad('--kernel is for a direct boot, --uki for one from disk: only one can be given')
  if (kernel === undefined && (flags.initrd !== undefined || flags.append !== undefined))
    throw bad('--initrd and --append need --kernel, as they do with QEMU')
  const ofBoot = [
    ['--disk', flags.disk],
    ['--boot-slot', flags.bootSlot],
    ['--acpi', flags.acpi],
    ['--qemu', flags.qemu],
  ] as const
  const stray = ofBoot.find(([, value]) => value !== undefined)
  if (kernel === undefined && uki === undefined && stray)
    throw bad(`${stray[0]} needs what boots: --kernel for a direct boot, --uki for one from disk`)
}

async function machineOf(flags: RtmrFlags, { firmware, memory }: TdStart) {
  const disk = flags.disk === undefined ? undefined : await diskStart(flags.disk)
  // A direct boot needs no disk to boot from; where there are some, they are named.
  const slots = flags.bootSlot ?? (flags.kernel === undefined ? undefined : [])
  const devices = slots && devicesOf(slots, disk)
  const acpi = flags.acpi === undefined ? undefined : await acpiOf(flags.acpi)
  const qemu = flags.qemu === undefined ? undefined : qemuVersion(flags.qemu)
  const machine: TdxMachine = {
    ...{ firmware, code: parseFirmwareCode(firmware) },
    ...(memory !== undefined && { memory }),
    ...(devices && { bootDevices: devices }),
    ...(acpi && { acpi }),
    ...(qemu && { qemu }),
  }
  const inputs = {
    ...machineInputs({ disk, bootSlot: flags.bootSlot, acpi }),
    ...(flags.qemu !== undefined && { qemu: flags.qemu }),
  }
  return { machine, disk, inputs }
}

/** `10.1`, `10.1.2`, or as distributions write it: `1:10.1.2+ds-1`. Throws UsageError. */
function qemuVersion(text: string): QemuVersion {
  const [, major, minor] = /^(?:\d{1,3}:)?(\d{1,3})[.](\d{1,3})(?:[.+~-].*)?$/.exec(text) ?? []
  if (major !== undefined && minor !== undefined) return [Number(major), Number(minor)]
  throw new UsageError(`--qemu is "${text}", a version such as 10.1 or 10.1.2 is required`, {
    code: 'bad-value',
  })
}

interface Booted {
  readonly prediction: RtmrPrediction
  readonly inputs: Inputs
}

async function diskBoot(machine: TdxMachine, uki: string, disk: Uint8Array | undefined): Promise<Booted> {
  const file = await readMaterial(uki, '--uki', FILE_LIMITS.kernel)
  return {
    prediction: predictDiskBoot(machine, { uki: file, ...(disk && { disk }) }),
    inputs: { uki: sha256Hex(file) },
  }
}

async function directBoot(machine: TdxMachine, flags: RtmrFlags, path: string): Promise<Booted> {
  const { initrd: initrdPath, append } = flags
  const kernel = await readMaterial(path, '--kernel', FILE_LIMITS.kernel)
  const initrd =
    initrdPath === undefined ? undefined : await readMaterial(initrdPath, '--initrd', FILE_LIMITS.kernel)
  return {
    prediction: predictDirectBoot(machine, { kernel, commandLine: append ?? '', ...(initrd && { initrd }) }),
    inputs: {
      kernel: sha256Hex(kernel),
      ...(initrd && { initrd: sha256Hex(initrd) }),
      ...(append !== undefined && { append }),
    },
  }
}

/** Each register with its events below it, as the page of `predict tpm`. */
export function readableRtmrs({ rtmrs, unknown, events = [] }: RtmrFields): string {
  const { strong, faint } = paletteFor(process.stdout)
  const lines = [0, 1, 2].flatMap((index) => {
    const register = `rtmr${index}`
    const reasons = unknown.find((each) => each.register === register)?.reasons ?? []
    const own = events.filter((event) => event.register === register)
    return [
      strong(`${register} ${rtmrs[index] ?? 'not known'}`),
      ...reasons.map((reason) => `      because ${reason}`),
      ...own.map((event) => faint(eventLine(event, 'sha384'))),
    ]
  })
  return `${lines.join('\n')}\n`
}
