/** Free space, asked for before something large is written. */

import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HostError } from '../base/errors.ts'
import { errorCode } from './files.ts'

/** Bytes that this user may still write on the file system of `path`; `path` need not exist yet. */
export async function freeBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || path === dirname(path)) throw error
    return freeBytes(dirname(path))
  }
}

/** `action`: `building the tools tree`. Throws HostError 'disk-full' with what is free and what is needed. */
export async function requireFreeSpace(path: string, bytes: number, action: string): Promise<void> {
  const free = await freeBytes(path)
  if (free >= bytes) return
  throw new HostError(
    `${action} needs ${megabytes(bytes)} on the disk of ${path}, ${megabytes(free)} are free`,
    {
      code: 'disk-full',
      hint: 'Free some space, or point ATTESTBED_CACHE and XDG_STATE_HOME at a larger disk',
    },
  )
}

/** `412 MB`, in decimal megabytes. */
export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`
}
