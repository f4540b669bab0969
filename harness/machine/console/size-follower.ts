import type { Console } from './engine.ts'

/** How much of what was printed before is looked at for a prompt that already stands there. */
const LOOK_BACK = 256

export interface WindowSize {
  readonly rows: number
  readonly columns: number
}

/**
 * Tells a guest the size of the user's window by typing `stty` at its shell prompt. It types only where the prompt is
 * the last thing on the console and nobody has typed since it appeared, so it never gets into a program or a
 * half-written command; until then the newest size waits.
 */
export class SizeFollower {
  readonly #console: Console
  readonly #prompt: RegExp
  #since: number
  #told: WindowSize | undefined
  #wanted: WindowSize | undefined
  #waiting: AbortController | undefined

  constructor(console: Console, prompt: RegExp) {
    this.#console = console
    // From the start of the line: what somebody types may end like a prompt.
    this.#prompt = new RegExp(`^.*(?:${prompt.source})`, prompt.flags)
    this.#since = Math.max(0, console.mark() - LOOK_BACK)
  }

  resized(size: WindowSize): void {
    this.#wanted = size
    this.#wait()
  }

  /** Somebody typed: a prompt from before no longer counts. */
  typed(): void {
    this.#since = this.#console.mark()
    this.#wait()
  }

  stop(): void {
    this.#wanted = undefined
    this.#waiting?.abort(new Error('the console was given back'))
  }

  #wait(): void {
    this.#waiting?.abort(new Error('the wait begins anew'))
    const wanted = this.#wanted
    if (!wanted || (wanted.rows === this.#told?.rows && wanted.columns === this.#told.columns)) return
    this.#waiting = new AbortController()
    const { signal } = this.#waiting
    const options = { since: this.#since, deadlineMs: Number.POSITIVE_INFINITY, expectFailures: [], signal }
    this.#console.expect(this.#prompt, options).then(
      (found) => {
        if (signal.aborted) return
        this.#since = found.end
        if (found.end === this.#console.mark()) this.#tell(wanted)
        else this.#wait()
      },
      () => {},
    )
  }

  #tell(size: WindowSize): void {
    this.#told = size
    // The space keeps it out of the shell's history.
    this.#console.send(` stty rows ${size.rows} cols ${size.columns}\n`).catch(() => {})
  }
}
