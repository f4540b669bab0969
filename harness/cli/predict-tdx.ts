/** `attestbed predict tdx`. */
import { sha256Hex } from '../base/digest.ts'
import { tdxDocument } from '../measure/documents/prediction.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { FILE_LIMITS, memoryBytes, readMaterial } from './material-files.ts'
import { writePrediction } from './output.ts'
import type { PredictedRtmrs, RtmrFlags, TdStart } from './predict-rtmr.ts'

interface TdxFlags extends RtmrFlags {
  readonly firmware: string
  readonly twoPass?: boolean
  readonly memory?: string
  readonly eachPage?: boolean
  readonly json?: boolean
}

/** Returns the exit code. Throws UsageError and FormatError. */
export async function predictTdx(flags: TdxFlags): Promise<number> {
  const file = await readMaterial(flags.firmware, '--firmware', FILE_LIMITS.firmware)
  const passes = flags.twoPass ? 'two' : 'single'
  const memory = flags.memory === undefined ? undefined : memoryBytes(flags.memory)
  const { registers, inputs } = await registersOf(flags, { firmware: file, memory })
  const document = tdxDocument(predictMrtd(file, passes), {
    platform: 'tdx',
    inputs: {
      firmware: sha256Hex(file),
      passes,
      ...(memory !== undefined && { memory: String(memory) }),
      ...inputs,
    },
    pages: flags.eachPage ? 'each' : 'regions',
  })
  // Without a word on memory or on what boots, only MRTD was asked for.
  writePrediction(flags.json ? { ...document, ...(registers ?? { rtmr: [] }) } : document, flags)
  if (registers && !flags.json) {
    const { readableRtmrs } = await import('./predict-rtmr.ts')
    process.stdout.write(readableRtmrs(registers))
  }
  return 0
}

/** The flags that MRTD does not come from; where none is given, nothing of the boot is even loaded. */
const BOOT_FLAGS = [
  ...(['memory', 'kernel', 'initrd', 'append', 'qemu', 'uki', 'disk', 'bootSlot', 'acpi'] as const),
] as const

async function registersOf(flags: TdxFlags, start: TdStart): Promise<Partial<PredictedRtmrs>> {
  if (BOOT_FLAGS.every((name) => flags[name] === undefined)) return {}
  const { predictRtmrs } = await import('./predict-rtmr.ts')
  return predictRtmrs(flags, start)
}
