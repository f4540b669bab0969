/** The key of a store: a file that its owner alone can read. */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { errorCode } from '../../system/files.ts'
import { readPrivateFile, unusable } from './private-file.ts'

const KEY_BYTES = 32

const ABOUT = { what: 'the key of the store', hint: 'attestbed broker key FILE makes one' } as const

/** 32 bytes, or 64 hex digits. Throws UsageError `bad-config`, also where others may read or change the file. */
export async function readStoreKey(path: string): Promise<Buffer> {
  return keyOf(path, await readPrivateFile(path, ABOUT))
}

function keyOf(path: string, content: Buffer): Buffer {
  if (content.length === KEY_BYTES) return Buffer.from(content)
  const text = content.toString('latin1').trim()
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  throw unusable(
    path,
    `has ${content.length} bytes, must have ${KEY_BYTES}, or ${KEY_BYTES * 2} hex digits`,
    ABOUT,
  )
}

/** A new key, mode 0600. Throws UsageError `bad-config` where the file is there already: a key is never overwritten. */
export async function makeStoreKey(path: string): Promise<void> {
  const text = `${randomBytes(KEY_BYTES).toString('hex')}\n`
  await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch((cause: unknown) => {
    throw unusable(path, errorCode(cause) === 'EEXIST' ? 'is there already' : 'cannot be written', {
      ...ABOUT,
      cause,
    })
  })
}
