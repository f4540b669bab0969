/** The key of a store: a file that its owner alone can read. */
import { randomBytes } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import { UsageError } from '../../base/errors.ts'
import { errorCode } from '../../system/files.ts'

const KEY_BYTES = 32

/** 32 bytes, or 64 hex digits. Throws UsageError `bad-config`, also where others may read or change the file. */
export async function readStoreKey(path: string): Promise<Buffer> {
  const file = await open(path).catch((cause: unknown) => {
    throw unusable(path, errorCode(cause) ?? 'cannot be opened', cause)
  })
  try {
    const facts = await file.stat()
    if (!facts.isFile()) throw unusable(path, 'is not a file')
    const owner = process.getuid?.()
    if (owner !== undefined && facts.uid !== owner)
      throw unusable(path, `belongs to user ${facts.uid}, must be yours`)
    const mode = facts.mode & 0o777
    if ((mode & 0o077) !== 0) throw unusable(path, `has mode 0${mode.toString(8)}, must be 0600`)
    return keyOf(path, await readAtMost(file, KEY_BYTES * 2 + 2))
  } finally {
    await file.close()
  }
}

async function readAtMost(file: Awaited<ReturnType<typeof open>>, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes + 1)
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
  return buffer.subarray(0, bytesRead)
}

function keyOf(path: string, content: Buffer): Buffer {
  if (content.length === KEY_BYTES) return Buffer.from(content)
  const text = content.toString('latin1').trim()
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  throw unusable(path, `has ${content.length} bytes, must have ${KEY_BYTES}, or ${KEY_BYTES * 2} hex digits`)
}

/** A new key, mode 0600. Throws UsageError `bad-config` where the file is there already: a key is never overwritten. */
export async function makeStoreKey(path: string): Promise<void> {
  const text = `${randomBytes(KEY_BYTES).toString('hex')}\n`
  await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch((cause: unknown) => {
    throw unusable(path, errorCode(cause) === 'EEXIST' ? 'is there already' : 'cannot be written', cause)
  })
}

function unusable(path: string, problem: string, cause?: unknown): UsageError {
  return new UsageError(`cannot use the key of the store: ${path} ${problem}`, {
    ...{ code: 'bad-config', cause },
    hint: 'attestbed broker key FILE makes one',
  })
}
