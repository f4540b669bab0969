/** A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec.rst) over a connected stream. */
import type { Duplex } from 'node:stream'
import { LaunchError, TimeoutError } from '../../base/errors.ts'
import { EventLog, type QmpEvent } from './events.ts'
import { LineSplitter } from './lines.ts'
import { parseQmpMessage, type QmpMessage, type QmpObject } from './messages.ts'

export interface QmpOptions {
  /** In messages: the name of the VM. */
  readonly name: string
  /** For an answer, the greeting included; default 30 000. */
  readonly timeoutMs?: number
  /** Bytes a line may have; default 8 MiB. */
  readonly lineLimit?: number
}

interface Waiting {
  readonly command: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

const DEFAULT_TIMEOUT_MS = 30_000
const GREETING = 'the greeting'

/** Waits for QEMU's greeting and leaves the negotiation mode. */
export async function openQmp(stream: Duplex, options: QmpOptions): Promise<QmpClient> {
  const client = new QmpClient(stream, options)
  try {
    await client.greeted
    await client.execute('qmp_capabilities')
  } catch (error) {
    client.close()
    throw error
  }
  return client
}

export class QmpClient {
  readonly greeted: Promise<void>
  /** Resolves when the connection is gone, whoever closed it; never rejects. */
  readonly closed: Promise<void>
  readonly #stream: Duplex
  readonly #options: QmpOptions
  readonly #splitter: LineSplitter
  readonly #waiting = new Map<number, Waiting>()
  readonly #events = new EventLog()
  #nextId = 1
  #version = 'unknown'
  #failure: LaunchError | undefined

  /** Use `openQmp`, which also negotiates. */
  constructor(stream: Duplex, options: QmpOptions) {
    this.#stream = stream
    this.#options = options
    this.#splitter = new LineSplitter(options.lineLimit)
    this.greeted = this.#answerTo(0, GREETING).then(() => undefined)
    this.greeted.catch(() => {})
    this.closed = new Promise((resolve) => {
      if (stream.destroyed) resolve()
      else stream.once('close', resolve)
    })
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('error', (error) => this.#fail('qmp-closed', `the connection broke: ${error.message}`, error))
    const onClose = () => this.#fail('qmp-closed', 'QEMU closed the connection')
    stream.once('end', onClose).once('close', onClose)
    if (stream.destroyed) onClose()
  }

  /** QEMU's version: `11.1.2`. */
  get version(): string {
    return this.#version
  }

  /** Number of events so far: a mark for `waitForEvent`. */
  get mark(): number {
    return this.#events.mark
  }

  /**
   * Executes a command; several may run at once. Throws LaunchError `qmp-command` with QEMU's class and words,
   * `qmp-closed` or `qmp-protocol` where the connection is gone, TimeoutError `qmp`.
   */
  execute(
    command: string,
    args?: QmpObject,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#failure)
    const id = this.#nextId++
    const answer = this.#answerTo(id, command, options.timeoutMs)
    this.#stream.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id })}\n`)
    return answer
  }

  /** Calls back for every event from now on; gives what ends that. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    return this.#events.onEvent(listener)
  }

  /**
   * The first event of one of these names since the mark `since` (default: now), which may already be past.
   * Throws TimeoutError `qmp` when it is not there in time, LaunchError where the connection is gone.
   */
  waitForEvent(
    names: readonly string[],
    options: { readonly timeoutMs: number; readonly since?: number },
  ): Promise<QmpEvent> {
    if (this.#failure && !this.#events.past(names, options.since)) return Promise.reject(this.#failure)
    const timedOut = () => this.#timedOut(`event ${names.join(' or ')}`, options.timeoutMs)
    return this.#events.waitFor({ names, ...options, timedOut })
  }

  /** Closes the connection; QEMU goes on. */
  close(): void {
    this.#fail('qmp-closed', 'the harness closed the connection')
  }

  #answerTo(
    id: number,
    command: string,
    timeoutMs = this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(this.#timedOut(`an answer to ${command}`, timeoutMs))
      }, timeoutMs)
      this.#waiting.set(id, { command, resolve, reject, timer })
    })
  }

  #read(chunk: Buffer): void {
    try {
      for (const line of this.#splitter.push(chunk))
        if (line.trim() !== '') this.#handle(parseQmpMessage(line))
    } catch (error) {
      if (error instanceof LaunchError) this.#fail('qmp-protocol', error.message, error.cause)
      else if (error instanceof RangeError) this.#fail('qmp-protocol', `QEMU sent ${error.message}`)
      else throw error
    }
  }

  #handle(message: QmpMessage): void {
    if (message.kind === 'event') this.#events.add(message.name, message.data, message.timestamp)
    else if (message.kind === 'greeting') {
      this.#version = message.version
      this.#settle(0, (waiting) => waiting.resolve(undefined))
    } else if (message.kind === 'return')
      this.#settle(message.id, (waiting) => waiting.resolve(message.value))
    else this.#settle(message.id, (waiting) => waiting.reject(this.#refused(waiting.command, message)))
  }

  #settle(id: unknown, settle: (waiting: Waiting) => void): void {
    // The late answer to a command that timed out is dropped; one to a command that was never sent is an error.
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= this.#nextId) {
      this.#fail('qmp-protocol', `QEMU answered a command that was not sent (id ${JSON.stringify(id)})`)
      return
    }
    const waiting = this.#waiting.get(id)
    if (!waiting) return
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    settle(waiting)
  }

  #refused(command: string, error: QmpMessage & { kind: 'error' }): LaunchError {
    return new LaunchError(
      `${this.#options.name}: QEMU refused ${command}: ${error.errorClass}: ${error.description}`,
      { code: 'qmp-command' },
    )
  }

  #timedOut(what: string, timeoutMs: number): TimeoutError {
    return new TimeoutError(`${this.#options.name}: QMP: ${what} did not come within ${timeoutMs} ms`, {
      code: 'qmp',
    })
  }

  #fail(code: 'qmp-closed' | 'qmp-protocol', reason: string, cause?: unknown): void {
    if (this.#failure) return
    const failure = new LaunchError(`${this.#options.name}: QMP: ${reason}`, { code, cause })
    this.#failure = failure
    for (const { command, reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(new LaunchError(`${failure.message}, while ${command} was awaited`, { code, cause }))
    }
    this.#waiting.clear()
    this.#events.fail(failure)
    this.#stream.destroy()
  }
}
