/**
 * The log as a file. A record counts as kept when it is on the disk: lines that wait are written together and synced
 * once, so that the disk's pace is not the number of guests a second.
 */
import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AttestbedError, UsageError } from '../../base/errors.ts'
import { diskFullOr, errorCode } from '../../system/files.ts'
import { acquireLock, type Lock } from '../../system/lock.ts'
import { type ChainEnd, link, readChain } from './chain.ts'
import { keepEvidence } from './evidence-files.ts'
import type { AuditLog, AuditRecord } from './record.ts'

export interface FileLogOptions {
  /** How the file is opened; default that of node:fs/promises. */
  readonly openFile?: typeof open
  /** Keeps what guests sent in this directory, each document under its SHA-256; default: only digests are kept. */
  readonly evidenceDirectory?: string
  /** How long to wait for another writer to be gone; default 5,000 ms, since one that was killed is gone by then. */
  readonly lockMs?: number
}

export interface FileLog extends AuditLog, AsyncDisposable {
  /** Where the beginning of a record lies that its writer did not live to finish; nobody was answered by it. */
  readonly setAside: string | undefined
  /** Waits for what was appended; afterwards the file belongs to nobody. */
  close(): Promise<void>
}

const LOCK_MS = 5_000

/**
 * Opens or begins a log, mode 0600, and checks its whole chain. One writer at a time: throws HostError `locked`. Throws
 * FormatError for a log that was changed: nothing is appended to what cannot be trusted; UsageError `bad-config` for a
 * place where no file can be written; HostError `disk-full`.
 */
export async function openAuditLog(path: string, options: FileLogOptions = {}): Promise<FileLog> {
  try {
    return await opened(path, options)
  } catch (cause) {
    throw ofPlace(cause, path)
  }
}

/** What the system says of a place that somebody named; EEXIST of a folder that is a file. */
const WRONG_PLACE = [
  'EEXIST',
  'ENOENT',
  'EACCES',
  'EPERM',
  'ENOTDIR',
  'EISDIR',
  'EROFS',
  'ELOOP',
  'ENAMETOOLONG',
]

/** Anything else is the disk's fault or ours, and no change of the configuration mends it. */
function ofPlace(cause: unknown, path: string): unknown {
  const code = errorCode(cause)
  if (cause instanceof AttestbedError || code === undefined || !WRONG_PLACE.includes(code))
    return diskFullOr(cause, `opening the audit log ${path}`)
  return new UsageError(`cannot open the audit log ${path}: ${code}`, { code: 'bad-config', cause })
}

async function opened(path: string, options: FileLogOptions): Promise<FileLog> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const lock = await acquireLock(`${path}.lock`, { timeoutMs: options.lockMs ?? LOCK_MS })
  try {
    const file = await (options.openFile ?? open)(path, 'a+', 0o600)
    try {
      return await continued(path, { file, lock, options })
    } catch (error) {
      await file.close()
      throw error
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}

interface Held {
  readonly file: FileHandle
  readonly lock: Lock
  readonly options: FileLogOptions
}

async function continued(path: string, held: Held): Promise<FileLog> {
  const { end, bytes, torn } = await readChain(path)
  const setAside = torn > 0 ? await setTornAside(path, held.file, { bytes, torn }) : undefined
  // The name of a new file is on the disk with its directory, not with its content.
  const directory = await open(dirname(path))
  await directory.sync().finally(() => directory.close())
  return new OpenLog({ ...held, end, bytes, setAside })
}

async function setTornAside(
  path: string,
  file: FileHandle,
  { bytes, torn }: { readonly bytes: number; readonly torn: number },
): Promise<string> {
  const tail = Buffer.alloc(torn)
  await file.read(tail, 0, torn, bytes)
  const aside = `${path}.torn-${bytes}`
  await writeFile(aside, tail, { mode: 0o600 })
  await file.truncate(bytes)
  await file.sync()
  return aside
}

interface Waiting {
  readonly record: AuditRecord
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

class OpenLog implements FileLog {
  readonly setAside: string | undefined
  readonly #held: Held
  #end: ChainEnd
  #bytes: number
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined
  #closed = false
  /** Set where neither writing nor taking back what was half written worked. */
  #lost: unknown

  constructor(state: Held & { end: ChainEnd; bytes: number; setAside: string | undefined }) {
    this.#held = state
    this.#end = state.end
    this.#bytes = state.bytes
    this.setAside = state.setAside
  }

  append(record: AuditRecord): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('the audit log is closed'))
    return new Promise((done, failed) => {
      this.#waiting.push({ record, done, failed })
      this.#writing ??= this.#drain().finally(() => {
        this.#writing = undefined
      })
    })
  }

  async keepEvidence(digest: string, text: string): Promise<void> {
    const { evidenceDirectory } = this.#held.options
    if (evidenceDirectory !== undefined) await keepEvidence(evidenceDirectory, digest, text)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#writing
    await this.#held.file.close()
    await this.#held.lock.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await this.#write(batch)
    }
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    let end = this.#end
    let text = ''
    const written: Waiting[] = []
    for (const waiting of batch) {
      try {
        const next = link(end, waiting.record)
        end = next.end
        text += `${next.line}\n`
        written.push(waiting)
      } catch (error) {
        waiting.failed(error)
      }
    }
    try {
      if (this.#lost !== undefined) throw this.#lost
      await this.#appendSynced(Buffer.from(text))
      this.#end = end
      for (const { done } of written) done()
    } catch (error) {
      for (const { failed } of written) failed(diskFullOr(error, 'writing the audit log'))
    }
  }

  async #appendSynced(bytes: Buffer): Promise<void> {
    const { file } = this.#held
    try {
      for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten
      await file.datasync()
      this.#bytes += bytes.length
    } catch (error) {
      // What was half written must not stand in front of the next record.
      await file.truncate(this.#bytes).catch((cause: unknown) => {
        this.#lost = cause
      })
      throw error
    }
  }
}
