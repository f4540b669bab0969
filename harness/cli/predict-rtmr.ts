/** The registers of a TD for `attestbed predict tdx`, where what boots is given. */
import { UsageError } from '../base/errors.ts'
import { type RtmrFields, rtmrFields } from '../measure/documents/rtmr-prediction.ts'
import { predictDirectBoot, predictDiskBoot, type TdxMachine } from '../measure/tdx/rtmr.ts'
import { parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import { paletteFor } from '../report/palette.ts'
import { FILE_LIMITS, readMaterial } from './material-files.ts'
import { acpiOf, devicesOf, diskStart } from './measured-files.ts'
import { eventLine } from './output.ts'

export interface RtmrFlags {
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly uki?: string
  readonly disk?: string
  readonly bootSlot?: readonly string[]
  readonly acpi?: string
}

/** Undefined where nothing that boots is given. Throws UsageError and FormatError. */
export async function predictRtmrs(
  flags: RtmrFlags,
  { firmware, memory }: { readonly firmware: Uint8Array; readonly memory: number | undefined },
): Promise<RtmrFields | undefined> {
  const { kernel, uki } = flags
  if (kernel === undefined && uki === undefined) return undefined
  if (kernel !== undefined && uki !== undefined)
    throw new UsageError('--kernel is for a direct boot, --uki for one from disk: only one can be given', {
      code: 'bad-value',
    })
  const disk = flags.disk === undefined ? undefined : await diskStart(flags.disk)
  // A direct boot needs no disk to boot from; where there are some, they are named.
  const slots = flags.bootSlot ?? (kernel === undefined ? undefined : [])
  const devices = slots && devicesOf(slots, disk)
  const acpi = flags.acpi === undefined ? undefined : await acpiOf(flags.acpi)
  const machine: TdxMachine = {
    ...{ firmware, code: parseFirmwareCode(firmware) },
    ...(memory !== undefined && { memory }),
    ...(devices && { bootDevices: devices }),
    ...(acpi && { acpi }),
  }
  if (uki !== undefined) {
    const file = await readMaterial(uki, '--uki', FILE_LIMITS.kernel)
    return rtmrFields(predictDiskBoot(machine, { uki: file, ...(disk && { disk }) }))
  }
  const initrd = flags.initrd && (await readMaterial(flags.initrd, '--initrd', FILE_LIMITS.kernel))
  const direct = {
    kernel: await readMaterial(kernel ?? '', '--kernel', FILE_LIMITS.kernel),
    commandLine: flags.append ?? '',
    ...(initrd && { initrd }),
  }
  return rtmrFields(predictDirectBoot(machine, direct))
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
