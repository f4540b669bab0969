import type { QmpObject } from './messages.ts'

export interface QmpEvent {
  /** `SHUTDOWN`, `RESET`, ... */
  readonly name: string
  readonly data: QmpObject
  /** When QEMU raised it, in milliseconds since the epoch, by QEMU's clock. */
  readonly timestamp: number
  /** Position in the stream of events, from 0. */
  readonly sequence: number
}

export interface EventWaitOptions {
  readonly names: readonly string[]
  /** Only events from this mark on; default: from now on. */
  readonly since?: number
  readonly timeoutMs: number
  /** The error of a wait that was in vain. */
  readonly timedOut: () => Error
}

interface EventWait {
  readonly names: readonly string[]
  readonly resolve: (event: QmpEvent) => void
  readonly reject: (error: Error) => void
}

/** Events that a wait can look back on: a guest in a reset loop raises thousands a second. */
const PAST_EVENTS = 256

/** What QEMU has reported so far, who listens, and who waits for what. */
export class EventLog {
  readonly #waits = new Set<EventWait>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  #past: QmpEvent[] = []
  #count = 0

  /** Number of events so far. */
  get mark(): number {
    return this.#count
  }

  add(name: string, data: QmpObject, timestamp: number): void {
    const event: QmpEvent = { name, data, timestamp, sequence: this.#count++ }
    this.#past.push(event)
    if (this.#past.length > 2 * PAST_EVENTS) this.#past = this.#past.slice(-PAST_EVENTS)
    for (const wait of [...this.#waits]) if (wait.names.includes(name)) wait.resolve(event)
    for (const listener of [...this.#listeners]) listener(event)
  }

  /** Calls back for every event from now on; gives what ends that. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The first event of these names since the mark, if it is past already. */
  past(names: readonly string[], since = this.#count): QmpEvent | undefined {
    return this.#past.find((event) => event.sequence >= since && names.includes(event.name))
  }

  waitFor({ names, since, timeoutMs, timedOut }: EventWaitOptions): Promise<QmpEvent> {
    const past = this.past(names, since)
    if (past) return Promise.resolve(past)
    return new Promise((resolve, reject) => {
      const settle = (settled: () => void) => {
        clearTimeout(timer)
        this.#waits.delete(wait)
        settled()
      }
      const wait: EventWait = {
        names,
        resolve: (event) => settle(() => resolve(event)),
        reject: (error) => settle(() => reject(error)),
      }
      const timer = setTimeout(() => wait.reject(timedOut()), timeoutMs)
      this.#waits.add(wait)
    })
  }

  /** Ends every wait: no further event will come. */
  fail(error: Error): void {
    for (const wait of [...this.#waits]) wait.reject(error)
  }
}
