/** Which characters of our source ran: V8's block coverage, through the inspector of this very process. */
import { Session } from 'node:inspector'

interface Range {
  readonly startOffset: number
  readonly endOffset: number
  readonly count: number
}

/** The part of V8's answer that is used. */
interface ScriptCoverage {
  readonly url: string
  /** Of each function the outermost range first; an inner one says otherwise for its part. */
  readonly functions: readonly { readonly ranges: readonly Range[] }[]
}

/** A byte for each character of a script: 1 where it ran. */
type Painted = ReadonlyMap<string, Uint8Array>

export class Coverage implements Disposable {
  readonly #session = new Session()
  readonly #seen = new Map<string, Uint8Array>()
  readonly #files: RegExp

  /** Only scripts whose URL matches `files` count. */
  constructor(files: RegExp) {
    this.#files = files
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Characters that ran at all. */
  get reached(): number {
    return [...this.#seen.values()].reduce(
      (sum, script) => sum + script.reduce((all, ran) => all + ran, 0),
      0,
    )
  }

  /**
   * Runs `work` and says whether it reached what was never remembered. Ranges differ from answer to answer, as V8 joins
   * neighbours that ran equally often; characters do not.
   */
  reachesNew(work: () => void): boolean {
    this.#take()
    work()
    return [...this.#take()].some(([url, ran]) => {
      const seen = this.#seen.get(url)
      return ran.some((character, index) => character === 1 && seen?.[index] !== 1)
    })
  }

  /** Runs `work` and remembers what it reaches. */
  remember(work: () => void): void {
    this.#take()
    work()
    for (const [url, ran] of this.#take()) {
      const old = this.#seen.get(url) ?? new Uint8Array(0)
      const seen = new Uint8Array(Math.max(old.length, ran.length))
      seen.set(old)
      for (const [index, character] of ran.entries()) if (character === 1) seen[index] = 1
      this.#seen.set(url, seen)
    }
  }

  /** What ran since the last time. The answer comes before `post` returns: the session is this process's own. */
  #take(): Painted {
    const painted = new Map<string, Uint8Array>()
    this.#session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error) throw error
      for (const script of taken.result as readonly ScriptCoverage[])
        if (this.#files.test(script.url)) painted.set(script.url, paint(script))
    })
    return painted
  }

  [Symbol.dispose](): void {
    this.#session.disconnect()
  }
}

/** Functions come in the order of their beginning, so a function within another is painted after it. */
function paint({ functions }: ScriptCoverage): Uint8Array {
  const ranges = functions.flatMap((each) => each.ranges)
  const length = ranges.reduce((longest, { endOffset }) => Math.max(longest, endOffset), 0)
  const painted = new Uint8Array(length)
  for (const { startOffset, endOffset, count } of ranges)
    painted.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  return painted
}
