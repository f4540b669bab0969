/** Firmware that does what the original does and is measured as another. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'

const ERASED = 0xff
/** Shorter runs may be data. */
const LEAST_RUN = 4096
/** The variable store at the beginning of a combined file, which no launch of a TD measures. */
const VARIABLES_BYTES = 0x84000

/**
 * A copy with one byte changed in the longest run of erased flash, where no file of a firmware volume lies. Returns its
 * path. Throws MaterialError `bad-format` where there is no such run.
 */
export async function alteredFirmware(file: string, directory: string): Promise<string> {
  const bytes = await readFile(file)
  const { from, length } = longestErased(bytes)
  if (length < LEAST_RUN)
    throw new MaterialError(`cannot alter ${file}: it has no ${LEAST_RUN} bytes of erased flash`, {
      code: 'bad-format',
    })
  bytes[from + length - 1 - Math.floor(length / 4)] = 0
  const altered = join(directory, 'altered.fd')
  await writeFile(altered, bytes, { mode: 0o600 })
  return altered
}

function longestErased(bytes: Uint8Array): { readonly from: number; readonly length: number } {
  let best = { from: 0, length: 0 }
  let from = VARIABLES_BYTES
  for (let at = VARIABLES_BYTES; at <= bytes.length; at++) {
    if (at < bytes.length && bytes[at] === ERASED) continue
    if (at - from > best.length) best = { from, length: at - from }
    from = at + 1
  }
  return best
}
