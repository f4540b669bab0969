/** `attestbed predict tdx`. */
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import { tdxDocument } from '../measure/documents/prediction.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { FILE_LIMITS, readMaterial } from './material-files.ts'
import { writePrediction } from './output.ts'

interface TdxFlags {
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
  const document = tdxDocument(predictMrtd(file, passes), {
    platform: 'tdx',
    inputs: {
      firmware: sha256Hex(file),
      passes,
      ...(memory !== undefined && { memory: String(memory) }),
    },
    pages: flags.eachPage ? 'each' : 'regions',
  })
  writePrediction(document, flags)
  return 0
}

const UNITS = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const

/** `2G`, `512M` as QEMU takes them; without a unit MiB. Throws UsageError. */
export function memoryBytes(text: string): number {
  const [, digits, unit = 'M'] = /^([1-9][0-9]{0,8})([MGT])?$/.exec(text) ?? []
  const bytes = Number(digits) * UNITS[unit as keyof typeof UNITS]
  if (digits !== undefined && Number.isSafeInteger(bytes)) return bytes
  throw new UsageError(`--memory is "${text}", a size such as 512M or 2G is required`, { code: 'bad-value' })
}
