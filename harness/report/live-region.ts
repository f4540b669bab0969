/**
 * The lines at the bottom of a terminal that are redrawn in place, with finished text scrolling above them.
 * A frame is one write, inside a synchronized update where the terminal knows it, so nothing flickers.
 */
import { stripVTControlCharacters } from 'node:util'
import { displayWidth } from '../base/text.ts'

const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
const BEGIN_FRAME = '\x1b[?2026h'
const END_FRAME = '\x1b[?2026l'
const CLEAR_LINE_END = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

export interface TerminalOutput {
  write(text: string): unknown
  readonly columns?: number | undefined
  readonly rows?: number | undefined
}

export class LiveRegion {
  readonly #output: TerminalOutput
  readonly #restore = (): void => this.close()
  #drawn: readonly string[] = []
  #open = false

  constructor(output: TerminalOutput) {
    this.#output = output
  }

  get columns(): number {
    return this.#output.columns || 80
  }

  get rows(): number {
    return this.#output.rows || 24
  }

  /** Replaces the region. Each line must fit the terminal's width; `above` is printed once and scrolls away. */
  draw(lines: readonly string[], above: readonly string[] = []): void {
    const cursor = this.#open ? '' : HIDE_CURSOR
    if (!this.#open) process.once('exit', this.#restore)
    this.#open = true
    const text = [...above, ...lines].map((line) => `${line}${CLEAR_LINE_END}\n`).join('')
    this.#output.write(`${BEGIN_FRAME}${cursor}${this.#toTop()}${text}${CLEAR_BELOW}${END_FRAME}`)
    this.#drawn = lines
  }

  /** Moves to the first row of what was drawn; a terminal that became narrower has wrapped those lines. */
  #toTop(): string {
    let rows = 0
    for (const line of this.#drawn)
      rows += Math.max(1, Math.ceil(displayWidth(stripVTControlCharacters(line)) / this.columns))
    const reachable = Math.min(rows, this.rows - 1)
    return reachable > 0 ? `\r\x1b[${reachable}A` : '\r'
  }

  /** Erases the region and gives the cursor back. May be called at any time, any number of times. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    process.removeListener('exit', this.#restore)
    this.#output.write(`${this.#toTop()}${CLEAR_BELOW}${SHOW_CURSOR}`)
    this.#drawn = []
  }
}
