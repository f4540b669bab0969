/**
 * Resources as files, each encrypted by itself with AES-256-GCM. The name is authenticated with the content: a file that
 * is put in the place of another does not open. Who can write here can still remove a file, or bring an old one back.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError, UsageError } from '../../base/errors.ts'
import { errorCode } from '../../system/files.ts'
import { isResourcePath, mustBeResourcePath } from './resource-path.ts'
import { MAX_RESOURCE_BYTES, type ResourceStore } from './resource-store.ts'

const MAGIC = Buffer.from('ATBSTOR1', 'ascii')
const NONCE_BYTES = 12
const TAG_BYTES = 16
const OVERHEAD = MAGIC.length + NONCE_BYTES + TAG_BYTES
const SUFFIX = '.sealed'

export interface FileStoreOptions {
  /** Made, mode 0700, where it is not there. */
  readonly directory: string
  /** 32 bytes. */
  readonly key: Uint8Array
}

export class FileStore implements ResourceStore {
  readonly #directory: string
  readonly #key: Uint8Array

  private constructor({ directory, key }: FileStoreOptions) {
    this.#directory = directory
    this.#key = key
  }

  static async open(options: FileStoreOptions): Promise<FileStore> {
    await mkdir(options.directory, { recursive: true, mode: 0o700 })
    return new FileStore(options)
  }

  /** Throws MaterialError `bad-format` for a file that this key did not write under this name. */
  async get(path: string): Promise<Uint8Array | undefined> {
    mustBeResourcePath(path)
    const sealed = this.#read(path)
    return sealed && unseal(sealed, path, this.#key)
  }

  /** Replaces by rename: a reader sees the old or the new one. Throws UsageError `bad-value` for a name or a size. */
  async put(path: string, content: Uint8Array): Promise<void> {
    mustBeResourcePath(path)
    if (content.length === 0 || content.length > MAX_RESOURCE_BYTES)
      throw new UsageError(
        `a resource of ${content.length} bytes is not kept, 1 to ${MAX_RESOURCE_BYTES} are`,
        {
          code: 'bad-value',
        },
      )
    const temporary = join(this.#directory, `.${randomBytes(9).toString('hex')}`)
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        await file.writeFile(seal(content, path, this.#key))
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, this.#fileOf(path))
      const directory = await open(this.#directory)
      await directory.sync().finally(() => directory.close())
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
  }

  /** Sorted names. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(this.#directory)
    return names
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => name.slice(0, -SUFFIX.length).replaceAll('~', '/'))
      .filter(isResourcePath)
      .sort()
  }

  /** False where there was none. */
  async remove(path: string): Promise<boolean> {
    mustBeResourcePath(path)
    const found = await stat(this.#fileOf(path)).catch(() => undefined)
    await rm(this.#fileOf(path), { force: true })
    return found !== undefined
  }

  /** In this thread: a small file takes less time than four ways to another one and back. */
  #read(path: string): Buffer | undefined {
    try {
      const file = openSync(this.#fileOf(path), 'r')
      try {
        const { size } = fstatSync(file)
        const buffer = Buffer.alloc(Math.min(size, MAX_RESOURCE_BYTES + OVERHEAD) + 1)
        return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, 0))
      } finally {
        closeSync(file)
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** No component has a `~`, so that no two names share a file, and none leaves the directory. */
  #fileOf(path: string): string {
    return join(this.#directory, `${path.replaceAll('/', '~')}${SUFFIX}`)
  }
}

function seal(content: Uint8Array, path: string, key: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.concat([MAGIC, Buffer.from(path)]))
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()])
  return Buffer.concat([MAGIC, nonce, ciphertext, cipher.getAuthTag()])
}

function unseal(sealed: Buffer, path: string, key: Uint8Array): Buffer {
  if (
    sealed.length <= OVERHEAD ||
    sealed.length > MAX_RESOURCE_BYTES + OVERHEAD ||
    !sealed.subarray(0, 8).equals(MAGIC)
  )
    throw unreadable(path, `its file of ${sealed.length} bytes is not one of a store`)
  const nonce = sealed.subarray(MAGIC.length, MAGIC.length + NONCE_BYTES)
  const body = sealed.subarray(MAGIC.length + NONCE_BYTES, -TAG_BYTES)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.concat([MAGIC, Buffer.from(path)])).setAuthTag(sealed.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(body), decipher.final()])
  } catch (cause) {
    throw unreadable(
      path,
      'its file was changed, is that of another name, or was made with another key',
      cause,
    )
  }
}

function unreadable(path: string, problem: string, cause?: unknown): MaterialError {
  return new MaterialError(`cannot read the resource ${path}: ${problem}`, { code: 'bad-format', cause })
}
