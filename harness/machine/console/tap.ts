import { LineCandidate } from './line-candidate.ts'
import type { Listener } from './scanner.ts'
import type { TextWindow } from './window.ts'

/** Hands over every line that holds one of the needles, once and in order. */
export class Tap implements Listener {
  readonly from: number
  readonly needles: readonly Buffer[]
  readonly unsettled = false
  readonly #window: TextWindow
  readonly #onLine: (line: string) => void
  #candidate: LineCandidate | undefined

  constructor(options: {
    readonly window: TextWindow
    readonly needles: readonly string[]
    readonly from: number
    /** Gets the line as Latin-1, so that its length is its number of bytes. Called synchronously. */
    readonly onLine: (line: string) => void
  }) {
    this.#window = options.window
    this.#onLine = options.onLine
    this.from = options.from
    this.needles = options.needles.map((needle) => Buffer.from(needle))
  }

  hit(_needle: number, end: number): void {
    this.advance(end)
    if (this.#candidate) this.#candidate.last = end
    else this.#candidate = new LineCandidate(end)
  }

  advance(limit: number): void {
    const candidate = this.#candidate
    const end = candidate?.end(this.#window)
    if (!candidate || end === undefined || end >= limit) return
    this.#candidate = undefined
    const start = this.#window.lineStart(candidate.first)
    this.#onLine(this.#window.bytes({ start, end }).toString('latin1'))
  }

  settle(): void {}
}
