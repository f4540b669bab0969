import type { TextWindow } from './window.ts'

/** A line that holds something of interest but is not complete yet. Hits of the same line fall into one candidate. */
export class LineCandidate {
  /** Offset after the first hit; the line is looked at around it. */
  readonly first: number
  /** Offset after the newest hit. */
  last: number
  /** No line feed lies between `first` and here. */
  #searched: number
  #end: number | undefined

  constructor(hitEnd: number) {
    this.first = hitEnd
    this.last = hitEnd
    this.#searched = hitEnd
  }

  /** Where the line ends (see TextWindow.lineEnd), or undefined while that is not known. */
  end(window: TextWindow): number | undefined {
    if (this.#end === undefined) {
      this.#end = window.lineEnd(this.first, this.#searched)
      this.#searched = Math.max(this.#searched, window.end)
    }
    return this.#end
  }
}
