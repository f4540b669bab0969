/** Whether a secret is anywhere that a host can read it: in the files that a scenario left behind so far. */
import { open, readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { countInFile } from '../../system/search.ts'

/**
 * Files below `directory` that hold `secret`, as text, in base64, or in hex of either case, also as a dump has it: blanks
 * and ends of lines between any two digits. Relative to it, sorted.
 */
export async function filesWithSecret(directory: string, secret: string): Promise<readonly string[]> {
  const bytes = Buffer.from(secret)
  const needles = [bytes, ...base64Cores(bytes)]
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  const found: string[] = []
  for (const file of files) {
    const counts = await Promise.all(needles.map((needle) => countInFile(file, needle)))
    if (counts.some((count) => count > 0) || (await isDumpedIn(file, bytes.toString('hex'))))
      found.push(file.slice(directory.length + 1))
  }
  return found.sort()
}

/** Kinds of places that a search goes through, by the name that a file of each has. `record`: what the harness notes. */
const FILE_OF = {
  broker: 'broker-audit.jsonl',
  console: 'console.raw',
  disk: 'disk.qcow2',
  record: 'events.jsonl',
  vtpm: 'vtpm.log',
} as const

export type SearchedPlace = keyof typeof FILE_OF

/** Of which kinds the files that a search found are; each once, sorted. Files of no kind count for nothing. */
export function placesAmong(files: readonly string[]): readonly SearchedPlace[] {
  const names = new Set(files.map((file) => basename(file)))
  return (Object.keys(FILE_OF) as SearchedPlace[]).filter((place) => names.has(FILE_OF[place]))
}

const PIECE_BYTES = 1024 * 1024
/** By byte, what a search for lower-case hex goes by: letters in lower case, and 0 for what is left out. */
const DUMPED = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (' \t\r\n'.includes(String.fromCharCode(byte))) return 0
  // What stands for NUL is any byte that no digit is.
  return byte >= 0x41 && byte <= 0x46 ? byte + 0x20 : byte || 0xff
})

/** `hex`: lower case. A dump of a vTPM's log has 16 bytes a line, in upper case, with blanks between them. */
async function isDumpedIn(path: string, hex: string): Promise<boolean> {
  const file = await open(path, 'r')
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES)
    const kept = Buffer.allocUnsafe(hex.length + PIECE_BYTES)
    let length = 0
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES)
      if (bytesRead === 0) return false
      for (let at = 0; at < bytesRead; at++) {
        const byte = DUMPED[piece[at] ?? 0] ?? 0
        kept[length] = byte
        if (byte !== 0) length += 1
      }
      if (kept.subarray(0, length).includes(hex, 0, 'latin1')) return true
      // As much as an occurrence that goes on in the next piece can have in this one.
      const carried = Math.min(hex.length - 1, length)
      kept.copy(kept, 0, length - carried, length)
      length = carried
    }
  } finally {
    await file.close()
  }
}

/** What base64 makes of the secret wherever it begins: of each shift, the letters that nothing around it decides. */
function base64Cores(bytes: Buffer): readonly Buffer[] {
  return [0, 1, 2].flatMap((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64')
    const core = text.slice(shift === 0 ? 0 : 4, -4)
    return [Buffer.from(core), Buffer.from(core.replaceAll('+', '-').replaceAll('/', '_'))]
  })
}
