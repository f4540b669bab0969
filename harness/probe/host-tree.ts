/** The probes' only view of the host's files, so that they can be tested on recorded hosts. */

import { constants } from 'node:fs'
import { open, readFile, stat, statfs } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'

export interface HostUser {
  readonly uid: number
  readonly name: string
  /** Numeric ids of the process's groups, the primary one included. */
  readonly groups: readonly number[]
}

/** `ok`, or the name of the error: `ENOENT`, `EACCES`, `ECONNREFUSED`... */
export type Attempt = 'ok' | (string & {})

/** Paths are absolute, as a person on the host would type them. */
export interface HostTree {
  readonly user: HostUser
  /** The whole file as UTF-8; undefined where it does not exist. Other failures are thrown. */
  readText(path: string): Promise<string | undefined>
  /** Up to `length` bytes at byte `offset`; fewer at the end of the file. Throws, with the error's name as `code`. */
  readBytes(path: string, offset: number, length: number): Promise<Buffer>
  /** Opens for reading and writing, and closes again. */
  tryOpen(path: string): Promise<Attempt>
  /** Connects to a unix stream socket, and hangs up. */
  tryConnect(path: string): Promise<Attempt>
  /** Undefined where it does not exist. */
  stat(path: string): Promise<{ readonly gid: number; readonly size: number } | undefined>
  /** Bytes an unprivileged user can still write where `path` is or would be. */
  freeBytes(path: string): Promise<number>
}

/** The real host; `root` is '/' but where a copied tree is to be looked at. */
export class DirectoryHost implements HostTree {
  readonly user: HostUser
  readonly #root: string

  constructor(root = '/') {
    this.#root = root
    const { uid, username } = currentUser()
    this.user = { uid, name: username, groups: [process.getgid?.() ?? 0, ...(process.getgroups?.() ?? [])] }
  }

  async readText(path: string): Promise<string | undefined> {
    try {
      return await readFile(this.#at(path), 'utf8')
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  }

  async readBytes(path: string, offset: number, length: number): Promise<Buffer> {
    const file = await open(this.#at(path), constants.O_RDONLY)
    try {
      const buffer = Buffer.alloc(length)
      const { bytesRead } = await file.read(buffer, 0, length, offset)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  }

  async tryOpen(path: string): Promise<Attempt> {
    try {
      const file = await open(this.#at(path), constants.O_RDWR | constants.O_NONBLOCK)
      await file.close()
      return 'ok'
    } catch (error) {
      return codeOf(error)
    }
  }

  tryConnect(path: string): Promise<Attempt> {
    return new Promise((resolve) => {
      const socket = createConnection(this.#at(path))
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => settled('ETIMEDOUT'))
      socket.once('connect', () => settled('ok'))
      socket.once('error', (error) => settled(codeOf(error)))
      const settled = (attempt: Attempt) => {
        socket.destroy()
        resolve(attempt)
      }
    })
  }

  async stat(path: string): Promise<{ readonly gid: number; readonly size: number } | undefined> {
    try {
      const { gid, size } = await stat(this.#at(path))
      return { gid, size }
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  }

  async freeBytes(path: string): Promise<number> {
    try {
      const { bavail, bsize } = await statfs(this.#at(path))
      return bavail * bsize
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || path === '/') throw error
      return this.freeBytes(dirname(path))
    }
  }

  #at(path: string): string {
    return join(this.#root, path)
  }
}

const CONNECT_TIMEOUT_MS = 500

/** A container may run as a uid that /etc/passwd does not know. */
function currentUser(): { readonly uid: number; readonly username: string } {
  const uid = process.getuid?.() ?? 0
  try {
    return { uid, username: userInfo().username }
  } catch {
    return { uid, username: String(uid) }
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
