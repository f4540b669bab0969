/** Which pieces of our code ran: V8's block coverage, through the inspector of this very process. */
import { Session } from 'node:inspector'

/** The part of V8's answer that is used. */
interface ScriptCoverage {
  readonly url: string
  readonly functions: readonly {
    readonly ranges: readonly {
      readonly startOffset: number
      readonly endOffset: number
      readonly count: number
    }[]
  }[]
}

export class Coverage implements Disposable {
  readonly #session = new Session()
  readonly #seen = new Set<string>()
  readonly #files: RegExp

  /** Only scripts whose URL matches `files` count. */
  constructor(files: RegExp) {
    this.#files = files
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Blocks that were seen at all. */
  get blocks(): number {
    return this.#seen.size
  }

  /** Runs `work` and gives the blocks that ran in it and were not remembered yet. */
  newBlocks(work: () => void): readonly string[] {
    this.#take()
    work()
    return this.#take().filter((block) => !this.#seen.has(block))
  }

  remember(blocks: readonly string[]): void {
    for (const block of blocks) this.#seen.add(block)
  }

  /** What ran since the last time. The answer comes before `post` returns: the session is this process's own. */
  #take(): readonly string[] {
    const blocks: string[] = []
    this.#session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error) throw error
      for (const script of taken.result as readonly ScriptCoverage[])
        if (this.#files.test(script.url)) blocks.push(...blocksOf(script))
    })
    return blocks
  }

  [Symbol.dispose](): void {
    this.#session.disconnect()
  }
}

function blocksOf({ url, functions }: ScriptCoverage): readonly string[] {
  return functions.flatMap(({ ranges }) =>
    ranges.flatMap(({ startOffset, endOffset, count }) =>
      count > 0 ? [`${url}:${startOffset}-${endOffset}`] : [],
    ),
  )
}
