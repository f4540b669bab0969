/**
 * Content-addressed cache of directories. An entry is built in a private temporary directory and appears by
 * rename, so that a half-built one is never seen; a lock an entry lets concurrent builders share the work.
 */

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { diskFullOr } from './files.ts'
import { withLock } from './lock.ts'

export interface StoreOptions {
  /** Called when another process is building the wanted entry. */
  readonly onWait?: (what: string) => void
}

export class Store {
  readonly directory: string
  readonly #options: StoreOptions
  readonly #pending = new Map<string, Promise<string>>()

  constructor(directory: string, options: StoreOptions = {}) {
    this.directory = directory
    this.#options = options
  }

  /** Where an entry is, or would be. */
  path(kind: string, key: string): string {
    return join(this.directory, checkName(kind), checkName(key))
  }

  has(kind: string, key: string): boolean {
    return existsSync(this.path(kind, key))
  }

  /**
   * The directory of an entry, built first if there is none. `build` fills the empty directory it is given; if it
   * throws, nothing stays. Names: letters, digits, `.`, `_`, `-`. A full disk is a HostError 'disk-full'.
   */
  async ensure(kind: string, key: string, build: (directory: string) => Promise<void>): Promise<string> {
    const final = this.path(kind, key)
    if (existsSync(final)) return final
    const pending = this.#pending.get(final)
    if (pending) return pending
    const made = this.#buildLocked(kind, key, build).finally(() => this.#pending.delete(final))
    this.#pending.set(final, made)
    return made
  }

  async #buildLocked(
    kind: string,
    key: string,
    build: (directory: string) => Promise<void>,
  ): Promise<string> {
    const name = `${kind}-${key}`
    const lockFile = join(this.directory, '.locks', name)
    const onWait = () => this.#options.onWait?.(name)
    return withLock(lockFile, { onWait }, async () => {
      const final = this.path(kind, key)
      if (existsSync(final)) return final
      const building = join(this.directory, '.building')
      await removeLeftovers(building, name)
      const temporary = join(building, `${name}@${randomBytes(6).toString('hex')}`)
      try {
        await mkdir(temporary, { recursive: true, mode: 0o700 })
        await build(temporary)
        await mkdir(join(this.directory, kind), { recursive: true, mode: 0o700 })
        await rename(temporary, final)
      } catch (error) {
        await rm(temporary, { recursive: true, force: true })
        throw diskFullOr(error, `building ${name} in ${this.directory}`)
      }
      return final
    })
  }
}

/** Whoever holds the entry's lock knows that every temporary directory of that entry is a dead builder's. */
async function removeLeftovers(building: string, name: string): Promise<void> {
  if (!existsSync(building)) return
  for (const entry of await readdir(building)) {
    if (entry.startsWith(`${name}@`)) await rm(join(building, entry), { recursive: true, force: true })
  }
}

function checkName(name: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name))
    throw new Error(`not a store name: ${JSON.stringify(name)}`)
  return name
}
