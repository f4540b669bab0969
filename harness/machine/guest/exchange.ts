import type { Console } from '../console/engine.ts'
import { evidence, type Frame, type Framing, parseFrame } from './frames.ts'

/**
 * One conversation with the agent under one marker: sends requests, queues the answers. A failure on the console, or
 * its end, ends the conversation with that error.
 */
export class Exchange implements Disposable {
  readonly framing: Framing
  readonly #console: Console
  readonly #frames: Frame[] = []
  readonly #untap: () => void
  readonly #watch = new AbortController()
  readonly #signal: AbortSignal | undefined
  #error: Error | undefined
  #wake: (() => void) | undefined

  /** `signal` ends it with its reason. */
  constructor(console: Console, framing: Framing, { signal }: { readonly signal?: AbortSignal } = {}) {
    this.#console = console
    this.#signal = signal
    this.framing = framing
    const since = console.mark()
    this.#untap = console.tap({
      needles: evidence(framing.marker),
      since,
      onLine: (line) => {
        this.#frames.push(parseFrame(line, framing.marker))
        this.#wake?.()
      },
    })
    const watching = { deadlineMs: Number.POSITIVE_INFINITY, since, signal: this.#watch.signal }
    console.expect([], { ...watching, awaited: 'an answer of the guest' }).catch((error) => {
      this.#error = error
      this.#wake?.()
    })
  }

  /** Types requests, each a line of its own. */
  async send(...requests: readonly string[]): Promise<void> {
    this.#requireGoing()
    await this.#console.send(linesOf(requests))
  }

  /** As `send`; the transcript keeps the number of bytes only. */
  async sendSecret(...requests: readonly string[]): Promise<void> {
    this.#requireGoing()
    await this.#console.sendSecret(linesOf(requests))
  }

  /** The next answer, or undefined where none came within `ms`. */
  async next(ms: number): Promise<Frame | undefined> {
    const deadline = performance.now() + ms
    for (;;) {
      const frame = this.#frames.shift()
      if (frame) return frame
      this.#requireGoing()
      const left = deadline - performance.now()
      if (left <= 0) return undefined
      await this.#change(left)
    }
  }

  /** Everything that has come and was not asked for yet. */
  takeAll(): readonly Frame[] {
    return this.#frames.splice(0)
  }

  [Symbol.dispose](): void {
    this.#untap()
    this.#watch.abort(new Error('the exchange is over'))
  }

  #requireGoing(): void {
    this.#signal?.throwIfAborted()
    if (this.#error) throw this.#error
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1))
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

function linesOf(requests: readonly string[]): string {
  return requests.map((request) => `${request}\n`).join('')
}
