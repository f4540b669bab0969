import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { LaunchError } from '../../base/errors.ts'

/** More bytes than this waiting for the disk make `write` ask its caller to stop reading for a while. */
const HIGH_WATER_BYTES = 8 * 1024 * 1024

export interface TranscriptFiles {
  /** Every byte the guest sent. */
  readonly raw: string
  /** JSON lines `[milliseconds, bytes]`: when so many further bytes of `raw` arrived. */
  readonly times: string
  /** JSON lines of what was sent to the guest: `{"ms","bytes","text"}`, or `"secret":true` in place of the text. */
  readonly sent: string
}

/** What a transcript needs of a file. */
export interface TranscriptSink {
  writev(buffers: readonly Uint8Array[]): Promise<{ readonly bytesWritten: number }>
  close(): Promise<void>
}

type Part = keyof TranscriptFiles

/**
 * The complete record of a console, written in batches behind the reader's back. Raw bytes reach their file before
 * their times do, so the times never speak of bytes that are not there.
 */
export class Transcript {
  readonly files: TranscriptFiles
  readonly #sinks: Readonly<Record<Part, TranscriptSink>>
  readonly #pending: Record<Part, Uint8Array[]> = { raw: [], times: [], sent: [] }
  #pendingBytes = 0
  #lostBytes = 0
  #lastMs = -1
  #lastBytes = 0
  #writing: Promise<void> | undefined
  #failure: LaunchError | undefined
  #onFailure: (failure: LaunchError) => void = () => {}

  constructor(files: TranscriptFiles, sinks: Readonly<Record<Part, TranscriptSink>>) {
    this.files = files
    this.#sinks = sinks
  }

  /** LaunchError 'transcript-write' once a write failed: what came after is not on disk. */
  get failure(): LaunchError | undefined {
    return this.#failure
  }

  /** Calls back when a write failed; one listener. */
  onFailure(callback: (failure: LaunchError) => void): void {
    this.#onFailure = callback
  }

  /** Takes bytes that arrived; the caller must not change them. False: wait for `drained()` before reading on. */
  write(bytes: Uint8Array, ms: number): boolean {
    if (this.#failure) {
      this.#lostBytes += bytes.length
      return true
    }
    if (ms !== this.#lastMs) {
      this.#endTime()
      this.#lastMs = ms
    }
    this.#lastBytes += bytes.length
    this.#pending.raw.push(bytes)
    this.#pendingBytes += bytes.length
    this.#start()
    return this.#pendingBytes < HIGH_WATER_BYTES
  }

  recordSent(
    record: { readonly ms: number; readonly bytes: number; readonly text: string } | SecretSent,
  ): void {
    if (this.#failure) return
    this.#pending.sent.push(Buffer.from(`${JSON.stringify(record)}\n`))
    this.#start()
  }

  /** Resolves when nothing waits for the disk any more, or writing failed; never rejects. */
  async drained(): Promise<void> {
    while (this.#writing) await this.#writing
  }

  /** Writes what is left and closes the files; LaunchError 'transcript-write' where something was not written. */
  async close(): Promise<void> {
    this.#endTime()
    this.#start()
    await this.drained()
    for (const sink of Object.values(this.#sinks)) await sink.close().catch((error) => this.#fail(error))
    if (this.#failure) throw this.#failure
  }

  get #hasPending(): boolean {
    return Object.values(this.#pending).some((buffers) => buffers.length > 0)
  }

  #endTime(): void {
    if (this.#lastBytes === 0) return
    this.#pending.times.push(Buffer.from(`[${this.#lastMs},${this.#lastBytes}]\n`))
    this.#lastBytes = 0
  }

  #start(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
      if (this.#hasPending) this.#start()
    })
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#hasPending) {
        // Times first taken, last written: they then belong to raw bytes of this batch or an earlier one.
        const times = this.#pending.times.splice(0)
        await this.#writeOut('raw', this.#pending.raw.splice(0))
        await this.#writeOut('times', times)
        await this.#writeOut('sent', this.#pending.sent.splice(0))
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  async #writeOut(part: Part, buffers: readonly Uint8Array[]): Promise<void> {
    // The kernel takes at most 1024 buffers in one call.
    for (let start = 0; start < buffers.length; start += 1024) {
      let rest: readonly Uint8Array[] = buffers.slice(start, start + 1024)
      while (rest.length > 0) {
        const { bytesWritten } = await this.#sinks[part].writev(rest)
        rest = skipBytes(rest, bytesWritten)
        if (part === 'raw') this.#pendingBytes -= bytesWritten
      }
    }
  }

  #fail(cause: unknown): void {
    if (this.#failure) return
    const reason = cause instanceof Error ? cause.message : String(cause)
    this.#failure = new LaunchError(
      `cannot write the console's transcript ${this.files.raw}: ${reason}; ${this.#pendingBytes} bytes or more are not on disk`,
      {
        code: 'transcript-write',
        cause,
        hint: 'Free some space, or point the run directory to another disk.',
      },
    )
    for (const buffers of Object.values(this.#pending)) buffers.length = 0
    this.#pendingBytes = 0
    this.#onFailure(this.#failure)
  }
}

export interface SecretSent {
  readonly ms: number
  readonly bytes: number
  readonly secret: true
}

function skipBytes(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let left = count
  for (const [index, buffer] of buffers.entries()) {
    if (left < buffer.length) return [buffer.subarray(left), ...buffers.slice(index + 1)]
    left -= buffer.length
  }
  return []
}

/**
 * Creates `NAME.raw`, `NAME.times` and `NAME.sent` in `directory`, readable by their owner only. They must not exist:
 * LaunchError 'transcript-write' otherwise.
 */
export async function openTranscript(
  directory: string,
  options: { readonly name?: string } = {},
): Promise<Transcript> {
  const base = join(directory, options.name ?? 'console')
  const files = { raw: `${base}.raw`, times: `${base}.times`, sent: `${base}.sent` }
  const opened: FileHandle[] = []
  try {
    for (const file of [files.raw, files.times, files.sent]) opened.push(await open(file, 'wx', 0o600))
    const [raw, times, sent] = opened as [FileHandle, FileHandle, FileHandle]
    return new Transcript(files, { raw, times, sent })
  } catch (cause) {
    for (const handle of opened) await handle.close()
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new LaunchError(`cannot create the console's transcript: ${reason}`, {
      code: 'transcript-write',
      cause,
    })
  }
}
