import { stripVTControlCharacters } from 'node:util'
import { escapeControls, truncateToWidth } from '../base/text.ts'
import type { RunEvent } from '../run/events.ts'
import { clock, cutStart, pad } from './layout.ts'
import { LiveRegion, type TerminalOutput } from './live-region.ts'
import type { Palette } from './palette.ts'
import { Progress, type ProgressRow } from './progress.ts'
import type { TerminalView } from './reporter.ts'
import { resultLines } from './result-lines.ts'

/** Least time between two frames, and the most, so that clocks go on. */
const FRAME_MS = 100
const TICK_MS = 1000

/** Longest part of a console line that is looked at; a line without a newline may be megabytes. */
const MAX_LINE = 400
const PHASE_CELLS = 9
/** Of the width: the variant of a matrix takes half of 100 columns, and without it rows look alike. */
const LABEL_SHARE = 0.6

export interface LiveOptions {
  readonly output: TerminalOutput
  readonly palette: Palette
  readonly now?: () => number
}

/** A line a VM, redrawn in place at most ten times a second; finished scenarios scroll away above. */
export class LiveReporter implements TerminalView {
  readonly name = 'live view'
  readonly #progress = new Progress()
  readonly #region: LiveRegion
  readonly #palette: Palette
  readonly #now: () => number
  readonly #above: string[] = []
  #frame: NodeJS.Timeout | undefined
  #tick: NodeJS.Timeout | undefined

  constructor({ output, palette, now = Date.now }: LiveOptions) {
    this.#region = new LiveRegion(output)
    this.#palette = palette
    this.#now = now
  }

  event(event: RunEvent): void {
    this.#progress.apply(event)
    if (event.type === 'run-started') this.#tick = setInterval(() => this.#draw(), TICK_MS).unref()
    if (event.type === 'scenario-ended') {
      const label = this.#progress.labelOf(event.key) ?? event.result.scenario
      this.#above.push(...resultLines(event.result, { label, palette: this.#palette, width: this.#width }))
    }
    this.#frame ??= setTimeout(() => this.#draw(), FRAME_MS).unref()
  }

  announce(words: string): void {
    this.#above.push(...words.split('\n').map((line) => escapeControls(line)))
    this.#draw()
  }

  close(): void {
    clearTimeout(this.#frame)
    clearInterval(this.#tick)
    if (this.#above.length > 0) this.#draw()
    clearTimeout(this.#frame)
    this.#region.close()
  }

  /** One cell stays free, so that no terminal wraps a full line. */
  get #width(): number {
    return this.#region.columns - 1
  }

  #draw(): void {
    clearTimeout(this.#frame)
    this.#frame = undefined
    this.#region.draw(this.#lines(), this.#above.splice(0))
  }

  #lines(): readonly string[] {
    const rows = this.#progress.rows()
    const room = Math.max(1, this.#region.rows - 3)
    const shown = rows.slice(0, room)
    const labelCells = Math.min(
      Math.max(0, ...shown.map((row) => row.label.length)),
      Math.max(12, Math.floor(this.#width * LABEL_SHARE)),
    )
    const hidden = rows.length - shown.length
    return [...shown.map((row) => this.#row(row, labelCells)), this.#summary(hidden)]
  }

  #row(row: ProgressRow, labelCells: number): string {
    const label = pad(cutStart(row.label, labelCells), labelCells)
    const elapsed = clock(this.#now() - row.startedAt).padStart(5)
    const start = `${label}  ${pad(row.phase, PHASE_CELLS)} ${elapsed}`
    const room = this.#width - start.length - 2
    const text = truncateToWidth(glance(row.text), room)
    return `${truncateToWidth(start, this.#width)}  ${this.#palette.faint(text)}`
  }

  #summary(hidden: number): string {
    const { running, planned, startedAt, retried, ended } = this.#progress.summary()
    const done = ended.pass + ended.fail + ended.error + ended.skip
    const bad = [
      ended.fail > 0 ? `${ended.fail} failed` : '',
      ended.error > 0 ? `${ended.error} in error` : '',
      retried > 0 ? `${retried} retried` : '',
    ].filter((words) => words !== '')
    const parts = [
      `${running} running${hidden > 0 ? ` (${hidden} not shown)` : ''}`,
      `${done} of ${planned} done${bad.length > 0 ? ` (${bad.join(', ')})` : ''}`,
      clock(this.#now() - startedAt),
    ]
    return this.#palette.strong(truncateToWidth(parts.join(', '), this.#width))
  }
}

const KERNEL_TIMESTAMP = /^\[ *\d+\.\d+\] /

/** Guest text for one look at it: without colours and timestamps, and whatever is left of controls escaped. */
function glance(text: string): string {
  const plain = stripVTControlCharacters(text.slice(0, MAX_LINE)).replace(KERNEL_TIMESTAMP, '')
  return escapeControls(plain.trimEnd())
}
