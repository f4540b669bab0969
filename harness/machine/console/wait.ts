import { LineCandidate } from './line-candidate.ts'
import type { CompiledPattern } from './patterns.ts'
import type { Listener } from './scanner.ts'
import type { Span, TextWindow } from './window.ts'

const LF = 0x0a

/** What a wait ended with; offsets are absolute in the plain text. */
export interface Found {
  readonly index: number
  readonly match: RegExpExecArray | string
  readonly start: number
  readonly end: number
}

/**
 * Looks for the first of several patterns. The order is that of the stream: a string is decided at its last byte,
 * a RegExp at the end of its line; of several on one line the leftmost match wins, then the first in the list.
 */
export class Wait implements Listener {
  readonly from: number
  readonly needles: readonly Buffer[]
  readonly #needleOwners: readonly number[]
  readonly #patterns: readonly CompiledPattern[]
  readonly #window: TextWindow
  readonly #onFound: (found: Found) => void
  /** RegExps that must be tried on every line. */
  readonly #onEveryLine: readonly number[]
  readonly #candidates = new Map<number, LineCandidate>()
  /** The first line that #onEveryLine was not tried on. */
  #nextLine: LineCandidate
  #settledAt = -1
  #done = false

  constructor(options: {
    readonly window: TextWindow
    readonly patterns: readonly CompiledPattern[]
    readonly from: number
    /** Called once, synchronously. */
    readonly onFound: (found: Found) => void
  }) {
    this.#window = options.window
    this.#patterns = options.patterns
    this.#onFound = options.onFound
    this.from = Math.max(options.from, options.window.start)
    this.needles = options.patterns.flatMap((pattern) => pattern.needles)
    this.#needleOwners = options.patterns.flatMap((pattern, index) => pattern.needles.map(() => index))
    this.#onEveryLine = [...options.patterns.keys()].filter((i) => this.#patterns[i]?.needles.length === 0)
    this.#nextLine = new LineCandidate(this.from)
  }

  get unsettled(): boolean {
    if (this.#done || this.#settledAt === this.#window.end) return false
    return this.#candidates.size > 0 || this.#onEveryLine.length > 0
  }

  hit(needle: number, end: number): void {
    this.#decide(end)
    const index = this.#needleOwners[needle] as number
    const pattern = this.#patterns[index] as CompiledPattern
    const start = end - (this.needles[needle]?.length ?? 0)
    if (this.#done || start < this.from) return
    if (pattern.regexp) {
      const candidate = this.#candidates.get(index)
      if (candidate) candidate.last = end
      else this.#candidates.set(index, new LineCandidate(end))
    } else if (pattern.needles[0]?.equals(this.#window.bytes({ start, end }))) {
      this.#finish({ index, match: pattern.text ?? '', start, end })
    }
  }

  advance(end: number): void {
    if (this.#candidates.size > 0 || this.#onEveryLine.length > 0) this.#decide(end)
  }

  settle(end: number): void {
    if (!this.unsettled) return
    this.#settledAt = end
    const tails = [...this.#candidates].map(([index, candidate]) => this.#search(index, candidate, end))
    if (this.#nextLine.first < end) tails.push(...this.#searchEvery(end))
    this.#finishFirst(tails)
  }

  /** Decides every line that ends before `limit`, in the order of their ends. */
  #decide(limit: number): void {
    while (!this.#done) {
      const end = this.#earliestEnd(limit)
      if (end === undefined) return
      const found = this.#takeCandidates(end).map(([index, candidate]) => this.#search(index, candidate, end))
      if (this.#onEveryLine.length > 0 && this.#nextLine.end(this.#window) === end) {
        found.push(...this.#searchEvery(end))
        const next = this.#window.bytes({ start: end, end: end + 1 })[0] === LF ? end + 1 : end
        this.#nextLine = new LineCandidate(next)
      }
      this.#finishFirst(found)
    }
  }

  #earliestEnd(limit: number): number | undefined {
    let earliest = limit
    const consider = (candidate: LineCandidate): void => {
      earliest = Math.min(earliest, candidate.end(this.#window) ?? limit)
    }
    for (const candidate of this.#candidates.values()) consider(candidate)
    if (this.#onEveryLine.length > 0) consider(this.#nextLine)
    return earliest < limit ? earliest : undefined
  }

  #takeCandidates(end: number): [number, LineCandidate][] {
    const taken = [...this.#candidates].filter(([, candidate]) => candidate.end(this.#window) === end)
    for (const [index, candidate] of taken) {
      this.#candidates.delete(index)
      const cut = this.#window.bytes({ start: end, end: end + 1 })[0] !== LF
      // A line too long to be seen whole: what lies around its last hit was not seen to its end.
      if (cut && candidate.last > candidate.first) {
        this.#candidates.set(index, new LineCandidate(candidate.last))
      }
    }
    return taken
  }

  #searchEvery(end: number): (Found | undefined)[] {
    return this.#onEveryLine.map((index) => this.#search(index, this.#nextLine, end))
  }

  #search(index: number, candidate: LineCandidate, end: number): Found | undefined {
    const regexp = this.#patterns[index]?.regexp
    if (!regexp) return undefined
    const span: Span = { start: this.#window.lineStart(candidate.first), end }
    const { text, offsetOf, indexOf } = this.#window.text(span)
    regexp.lastIndex = span.start < this.from ? indexOf(this.from) : 0
    const match = regexp.exec(text)
    if (!match) return undefined
    return { index, match, start: offsetOf(match.index), end: offsetOf(match.index + match[0].length) }
  }

  #finishFirst(found: readonly (Found | undefined)[]): void {
    const inOrder = found.filter((one) => one !== undefined)
    const [first] = inOrder.sort((a, b) => a.start - b.start || a.index - b.index)
    if (first) this.#finish(first)
  }

  #finish(found: Found): void {
    if (this.#done) return
    this.#done = true
    this.#onFound(found)
  }
}
