/** What set-up prints while it works: one updating line on a terminal, a line a step elsewhere. */

import { megabytes } from '../disk-space.ts'
import type { PackageProgress } from '../packages.ts'

export interface ProgressOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

type Phase = PackageProgress['phase']

const TITLES: Readonly<Record<Phase, string>> = {
  lists: 'fetching the package lists',
  download: 'downloading packages',
  extract: 'unpacking packages',
}

/** Seconds that the phases take on two cores and 10 MB/s: what is still to come after the present one. */
const USUAL_SECONDS: Readonly<Record<Phase, number>> = { lists: 6, download: 20, extract: 15 }
const FINISH_SECONDS = 15
const ORDER: readonly Phase[] = ['lists', 'download', 'extract']
const REPAINT_MS = 200
/** Where there is no terminal, a running step says something this often (in parts of it). */
const PLAIN_STEP = 0.25

export class SetupProgress {
  readonly #output: ProgressOutput
  readonly #now: () => number
  readonly #start: number
  #phase: Phase | undefined
  #phaseStart = 0
  #painted = 0
  #said = 0
  #lineOpen = false

  constructor(output: ProgressOutput, now: () => number = () => performance.now()) {
    this.#output = output
    this.#now = now
    this.#start = now()
  }

  /** A line that stays. */
  note(text: string): void {
    this.#clear()
    this.#output.write(`set-up: ${text}\n`)
  }

  /** The beginning of a step that has no measure. */
  step(text: string): void {
    if (this.#output.isTTY) this.#paint(`${text} ...`)
    else this.note(text)
  }

  packages(progress: PackageProgress): void {
    const fraction = progress.total === 0 ? 1 : progress.done / progress.total
    if (progress.phase !== this.#phase) this.#enter(progress.phase)
    const last = fraction >= 1
    if (this.#output.isTTY) {
      if (!last && this.#now() - this.#painted < REPAINT_MS) return
      this.#paint(this.#line(progress, fraction))
    } else if (fraction >= this.#said + PLAIN_STEP || (this.#said < 0 && !last)) {
      this.#said = Math.floor(fraction / PLAIN_STEP) * PLAIN_STEP
      this.note(this.#line(progress, fraction))
    }
  }

  /** Ends the updating line. */
  finish(text: string): void {
    const seconds = Math.round((this.#now() - this.#start) / 1000)
    this.note(seconds < 1 ? text : `${text} (${seconds} s)`)
  }

  #enter(phase: Phase): void {
    this.#phase = phase
    this.#phaseStart = this.#now()
    this.#said = -1
  }

  #line(progress: PackageProgress, fraction: number): string {
    const amount =
      progress.phase === 'lists'
        ? `${Math.round(progress.done)} %`
        : progress.phase === 'download'
          ? `${megabytes(progress.done)} of ${megabytes(progress.total)}`
          : `${progress.done} of ${progress.total}`
    return `${TITLES[progress.phase]}: ${amount}, about ${this.#remaining(progress.phase, fraction)} s left`
  }

  /** The present phase by its own pace once that is known, the later ones by experience. */
  #remaining(phase: Phase, fraction: number): number {
    const elapsed = (this.#now() - this.#phaseStart) / 1000
    const usual = USUAL_SECONDS[phase] * (1 - fraction)
    const present = fraction > 0.1 ? (elapsed / fraction) * (1 - fraction) : usual
    const later = ORDER.slice(ORDER.indexOf(phase) + 1).reduce((sum, next) => sum + USUAL_SECONDS[next], 0)
    return Math.max(1, Math.round(present + later + FINISH_SECONDS))
  }

  #paint(text: string): void {
    this.#painted = this.#now()
    const line = `set-up: ${text}`.slice(0, (this.#output.columns ?? 80) - 1)
    this.#output.write(`\r\x1b[K${line}`)
    this.#lineOpen = true
  }

  #clear(): void {
    if (this.#lineOpen) this.#output.write('\r\x1b[K')
    this.#lineOpen = false
  }
}
