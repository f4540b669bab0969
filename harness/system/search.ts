import { open } from 'node:fs/promises'

const CHUNK = 4 * 1024 * 1024

/**
 * How often `needle` (at least 1 byte) occurs in a file, also across the borders of the chunks it is read in.
 * Occurrences do not overlap. Holes of a sparse file are read as zeros.
 */
export async function countInFile(path: string, needle: Buffer): Promise<number> {
  const file = await open(path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(needle.length - 1 + CHUNK)
    let carried = 0
    let count = 0
    for (;;) {
      const { bytesRead } = await file.read(buffer, carried, CHUNK)
      if (bytesRead === 0) return count
      const filled = carried + bytesRead
      let next = 0
      for (let at = buffer.indexOf(needle, 0); at !== -1 && at + needle.length <= filled; ) {
        count++
        next = at + needle.length
        at = buffer.indexOf(needle, next)
      }
      carried = Math.min(needle.length - 1, filled - next)
      buffer.copy(buffer, 0, filled - carried, filled)
    }
  } finally {
    await file.close()
  }
}
