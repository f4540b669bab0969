import type { Duplex } from 'node:stream'
import { type AttestbedError, GuestError, TimeoutError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { FAILURE_PATTERNS, type FailurePattern, failureError } from './failure-patterns.ts'
import { lastLines } from './last-lines.ts'
import { type CompiledPattern, compilePattern, type Pattern } from './patterns.ts'
import { Scanner } from './scanner.ts'
import { type SendRecord, Sends } from './sends.ts'
import { Tap } from './tap.ts'
import type { Transcript } from './transcript.ts'
import { type Found, Wait } from './wait.ts'

const DEFAULT_WINDOW_BYTES = 512 * 1024
/** After so long without a byte the last, unfinished line is taken for what it is, a prompt. */
const DEFAULT_SETTLE_MS = 50
const LINE_EVENT_INTERVAL_MS = 100
const TAIL_LINES = 15
/** Longest `before` that a wait returns, in bytes of the plain text. */
const LONGEST_BEFORE = 64 * 1024

/** A place in the console's plain text: the number of its bytes before it. */
export type Mark = number

export interface ConsoleOptions {
  /** The machine's name, for messages. */
  readonly name: string
  readonly transcript?: Transcript
  /** What ends every wait unless the wait says otherwise; default: FAILURE_PATTERNS. */
  readonly failures?: readonly FailurePattern[]
  /** Plain text kept in memory for waits that look back, in bytes; default 512 KiB. */
  readonly windowBytes?: number
  readonly settleMs?: number
}

export interface ExpectOptions {
  readonly deadlineMs: number
  /** Where to begin, default: after the last match of any wait. Text that left the window is not seen. */
  readonly since?: Mark
  /** Failures that end this wait; `[]` disarms them, for a scenario that looks for one. */
  readonly expectFailures?: readonly FailurePattern[]
  readonly signal?: AbortSignal
  /** What is awaited, for messages; default: the patterns. */
  readonly awaited?: string
  /** What the deadline belongs to, default 'expect'. */
  readonly timeoutCode?: TimeoutError['code']
}

export interface ConsoleMatch {
  /** Which of the patterns. */
  readonly index: number
  /** Its name. */
  readonly pattern: string
  readonly match: RegExpExecArray | string
  /** Plain text between the start of the wait and the match, the last 64 KiB of it. */
  readonly before: string
  /** The place after the match. */
  readonly end: Mark
}

interface ActiveWait {
  readonly listener: Wait
  readonly reject: (error: Error) => void
  readonly dispose: () => void
}

/**
 * A guest's serial console over any stream. It reads from the first moment until the stream ends, whether anybody
 * waits or not; memory does not grow with what the guest prints.
 *
 * Each `expect` continues after the last match. To see only what follows an action, take a `mark()` before it and
 * pass it as `since`; do so too where several waits run at once.
 */
export class Console {
  readonly name: string
  readonly transcript: Transcript | undefined
  readonly #stream: Duplex
  readonly #scanner: Scanner
  readonly #failures: readonly FailurePattern[]
  readonly #settleMs: number
  readonly #openedAt = performance.now()
  readonly #sends = new Sends()
  readonly #waits = new Set<ActiveWait>()
  readonly #lineCallbacks = new Set<(line: string) => void>()
  readonly #dataCallbacks = new Set<(bytes: Uint8Array) => void>()
  readonly #closed: Promise<void>
  #cursor: Mark = 0
  #receivedBytes = 0
  #lastByteAt: number | undefined
  #settleTimer: NodeJS.Timeout | undefined
  #lineTimer: NodeJS.Timeout | undefined
  #ended: Error | undefined

  constructor(stream: Duplex, options: ConsoleOptions) {
    this.name = options.name
    this.transcript = options.transcript
    this.#stream = stream
    this.#scanner = new Scanner({ windowBytes: options.windowBytes ?? DEFAULT_WINDOW_BYTES })
    this.#failures = options.failures ?? FAILURE_PATTERNS
    this.#settleMs = options.settleMs ?? DEFAULT_SETTLE_MS
    this.transcript?.onFailure((failure) => this.failWaits(failure))
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#closed = new Promise((resolve) => {
      const onEnd = (cause?: unknown): void => {
        this.#end(cause)
        resolve()
      }
      stream.on('error', onEnd)
      stream.once('end', () => onEnd())
      stream.once('close', () => onEnd())
    })
  }

  /** Bytes sent to the guest so far. Zero: nothing was typed. */
  get sentBytes(): number {
    return this.#sends.bytes
  }

  /** The last 1000 things sent. */
  get sends(): readonly SendRecord[] {
    return this.#sends.records
  }

  get receivedBytes(): number {
    return this.#receivedBytes
  }

  /** Milliseconds since the last byte, or since the console was opened where none came. */
  get quietMs(): number {
    return performance.now() - (this.#lastByteAt ?? this.#openedAt)
  }

  /** Resolves when the stream ended; never rejects. */
  get closed(): Promise<void> {
    return this.#closed
  }

  /** The end of what has arrived. */
  mark(): Mark {
    return this.#scanner.window.end
  }

  /** The last lines that are not blank, safe to print. */
  lastLines(count: number = TAIL_LINES): readonly string[] {
    return lastLines(this.#scanner.window, count)
  }

  /**
   * Resolves with the first match in the order of the stream (see Pattern). Rejects with the error of a failure
   * pattern, TimeoutError at the deadline, GuestError 'console-closed' when the stream ends, LaunchError
   * 'transcript-write' when the transcript cannot be written, and with the reason of an abort.
   */
  expect(patterns: Pattern | readonly Pattern[], options: ExpectOptions): Promise<ConsoleMatch> {
    const wanted = (Array.isArray(patterns) ? patterns : [patterns]).map(compilePattern)
    const failures = options.expectFailures ?? this.#failures
    const compiled = [...wanted, ...failures.map(compilePattern)]
    const awaited = options.awaited ?? describe(wanted)
    const from = options.since ?? this.#cursor
    return new Promise((resolve, reject) => {
      const unable = this.transcript?.failure ?? (options.signal?.aborted ? options.signal.reason : undefined)
      if (unable) return reject(unable)
      this.#arm({ compiled, from, reject, options, awaited }, (found) => {
        const failure = failures[found.index - wanted.length]
        if (failure) return reject(this.#failureError(failure, found, awaited))
        this.#cursor = Math.max(this.#cursor, found.end)
        resolve(this.#match(compiled, found, from))
      })
    })
  }

  /**
   * Hands over every complete line that holds one of `needles` (ASCII, in any case), as Latin-1, until the returned
   * function is called. `onLine` is called while bytes are read: it must be quick and must not throw.
   */
  tap(options: {
    readonly needles: readonly string[]
    readonly since?: Mark
    readonly onLine: (line: string) => void
  }): () => void {
    const { window } = this.#scanner
    const { needles, onLine } = options
    const listener = new Tap({ window, needles, onLine, from: options.since ?? this.mark() })
    this.#scanner.add(listener)
    return () => this.#scanner.remove(listener)
  }

  /** Calls back with the last line, at most 200 columns and safe to print, at most ten times a second. */
  onLine(callback: (line: string) => void): () => void {
    this.#lineCallbacks.add(callback)
    return () => this.#lineCallbacks.delete(callback)
  }

  /** Calls back with the bytes as they arrive: hostile, and only for a person's own terminal. */
  onData(callback: (bytes: Uint8Array) => void): () => void {
    this.#dataCallbacks.add(callback)
    return () => this.#dataCallbacks.delete(callback)
  }

  /** Resolves when the stream took the bytes; GuestError 'console-closed' where it has ended. */
  send(data: string | Uint8Array): Promise<void> {
    const bytes = Buffer.from(data as Uint8Array)
    return this.#write(bytes, { ms: this.#ms(), bytes: bytes.length, text: bytes.toString('latin1') })
  }

  /** As `send`, but only the number of bytes is kept and written down. */
  sendSecret(data: string | Uint8Array): Promise<void> {
    const bytes = Buffer.from(data as Uint8Array)
    return this.#write(bytes, { ms: this.#ms(), bytes: bytes.length })
  }

  /** Ends every wait of now with this error, for what only others know: a reset, QEMU's end. */
  failWaits(error: Error): void {
    for (const wait of [...this.#waits]) this.#settleWait(wait, () => wait.reject(error))
  }

  /** Ends the stream and every wait, then closes the transcript, whose failure is thrown. */
  async close(): Promise<void> {
    this.#stream.destroy()
    this.#end(undefined)
    await this.transcript?.close()
  }

  #receive(chunk: Buffer): void {
    this.#receivedBytes += chunk.length
    this.#lastByteAt = performance.now()
    if (this.transcript && !this.transcript.write(chunk, this.#ms())) {
      // The disk is slower than the guest: let the guest wait rather than memory grow.
      this.#stream.pause()
      void this.transcript.drained().then(() => this.#stream.resume())
    }
    this.#scanner.push(chunk)
    for (const callback of this.#dataCallbacks) callback(chunk)
    if (this.#lineCallbacks.size > 0) {
      this.#lineTimer ??= setTimeout(() => this.#reportLine(), LINE_EVENT_INTERVAL_MS)
    }
    this.#scheduleSettle()
  }

  #reportLine(): void {
    this.#lineTimer = undefined
    const [line] = this.lastLines(1)
    if (line !== undefined) for (const callback of this.#lineCallbacks) callback(line)
  }

  #scheduleSettle(): void {
    if (this.#settleTimer) this.#settleTimer.refresh()
    else if (this.#scanner.unsettled) {
      this.#settleTimer = setTimeout(() => this.#settle(), this.#settleMs)
    }
  }

  #settle(): void {
    clearTimeout(this.#settleTimer)
    this.#settleTimer = undefined
    this.#scanner.settle()
  }

  #arm(
    wait: {
      readonly compiled: readonly CompiledPattern[]
      readonly from: Mark
      readonly reject: (error: Error) => void
      readonly options: ExpectOptions
      readonly awaited: string
    },
    onFound: (found: Found) => void,
  ): void {
    const { compiled: patterns, from, reject, options, awaited } = wait
    const { window } = this.#scanner
    const finish = (found: Found): void => this.#settleWait(active, () => onFound(found))
    const listener = new Wait({ window, patterns, from, onFound: finish })
    const onAbort = (): void => this.#settleWait(active, () => reject(options.signal?.reason))
    const onDeadline = (): void => {
      listener.settle(window.end)
      this.#settleWait(active, () => reject(this.#timeoutError(options, awaited, from)))
    }
    const timer = setTimeout(onDeadline, Math.min(options.deadlineMs, 2 ** 31 - 1))
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const active: ActiveWait = {
      listener,
      reject,
      dispose: () => {
        clearTimeout(timer)
        options.signal?.removeEventListener('abort', onAbort)
      },
    }
    this.#waits.add(active)
    this.#scanner.add(listener)
    if (this.#ended || this.quietMs >= this.#settleMs) listener.settle(window.end)
    if (this.#ended) this.failWaits(this.#ended)
    else this.#scheduleSettle()
  }

  /** Ends a wait once, whoever comes first. */
  #settleWait(wait: ActiveWait, settle: () => void): void {
    if (!this.#waits.delete(wait)) return
    this.#scanner.remove(wait.listener)
    wait.dispose()
    settle()
  }

  #match(compiled: readonly CompiledPattern[], found: Found, from: Mark): ConsoleMatch {
    const start = Math.max(from, found.start - LONGEST_BEFORE)
    const before = this.#scanner.window.text({ start, end: found.start }).text
    const pattern = compiled[found.index]?.name ?? ''
    return { index: found.index, pattern, match: found.match, before, end: found.end }
  }

  #failureError(failure: FailurePattern, found: Found, awaited: string): AttestbedError {
    const { window } = this.#scanner
    const end = window.lineEnd(found.end) ?? window.end
    const line = escapeControls(window.bytes({ start: window.lineStart(found.start), end }).subarray(0, 400))
    return failureError(failure, { awaited, line, tail: this.#tail() })
  }

  #timeoutError(options: ExpectOptions, awaited: string, from: Mark): TimeoutError {
    const tail = this.#tail()
    const missed = this.#scanner.window.start - from
    const details = [
      `${awaited} did not appear on the console of ${this.name} within ${options.deadlineMs / 1000} s`,
      `the last byte came ${(this.quietMs / 1000).toFixed(1)} s ago`,
      ...(missed > 0 ? [`${missed} bytes were too old to be looked at`] : []),
    ]
    return new TimeoutError(`${details.join('; ')}\n${tail}`, {
      code: options.timeoutCode ?? 'expect',
      consoleTail: tail,
    })
  }

  #tail(): string {
    const lines = this.lastLines()
    return lines.length === 0 ? '  (the console said nothing)' : lines.map((line) => `  | ${line}`).join('\n')
  }

  #write(bytes: Buffer, record: SendRecord): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended)
    this.#sends.add(record)
    const { ms, text } = record
    this.transcript?.recordSent(
      text === undefined ? { ms, bytes: bytes.length, secret: true } : { ms, bytes: bytes.length, text },
    )
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => (error ? reject(this.#closedError(error)) : resolve()))
    })
  }

  #end(cause: unknown): void {
    if (this.#ended) return
    this.#ended = this.#closedError(cause)
    this.#settle()
    clearTimeout(this.#lineTimer)
    this.failWaits(this.#ended)
  }

  #closedError(cause: unknown): GuestError {
    const tail = this.#tail()
    return new GuestError(`the console of ${this.name} was closed\n${tail}`, {
      code: 'console-closed',
      consoleTail: tail,
      cause,
    })
  }

  #ms(): number {
    return Math.round(performance.now() - this.#openedAt)
  }
}

function describe(patterns: readonly CompiledPattern[]): string {
  return patterns.map((pattern) => escapeControls(JSON.stringify(pattern.name))).join(' or ') || 'a failure'
}
