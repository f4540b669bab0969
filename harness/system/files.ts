/** Small file operations that must be private, atomic or streaming. */

import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { HostError } from '../base/errors.ts'

/** Replaces `path` by rename, mode 0600: a reader sees the old or the new content, never a part. */
export async function writePrivateFile(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw diskFullOr(error, `writing ${path}`)
  }
}

const HASH_BYTES = 1 << 18

/** Lower-case hex SHA-256, 64 characters; reads in pieces into one buffer, so disks of any size fit. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(HASH_BYTES)
  const file = await open(path)
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, HASH_BYTES)
      if (bytesRead === 0) return hash.digest('hex')
      hash.update(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

/** The last `bytes` bytes of a file (fewer if it is shorter); nothing at all if it cannot be read. */
export function readTail(path: string, bytes: number): Buffer {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch {
    return Buffer.alloc(0)
  }
  try {
    return readTailOf(descriptor, bytes)
  } finally {
    closeSync(descriptor)
  }
}

export function readTailOf(descriptor: number, bytes: number): Buffer {
  const { size } = fstatSync(descriptor)
  const tail = Buffer.alloc(Math.min(size, bytes))
  const length = readSync(descriptor, tail, 0, tail.length, size - tail.length)
  return tail.subarray(0, length)
}

/** Turns ENOSPC and EDQUOT into a HostError 'disk-full'; anything else is passed through. */
export function diskFullOr(error: unknown, action: string): unknown {
  const code = errorCode(error)
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return new HostError(`${action}: the disk is full`, {
    code: 'disk-full',
    hint: 'Free some space, or point ATTESTBED_CACHE and XDG_STATE_HOME at a larger disk.',
    cause: error,
  })
}

/** The `code` of a system error (`ENOENT`), or undefined. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
