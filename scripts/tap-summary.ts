/** Counts what a TAP stream says, assertion by assertion, and keeps why something failed or was skipped. */
import { Parser } from 'tap-parser'
import { stringify } from 'yaml'

export interface TapSummary {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** `name: reason`, one an assertion or a test that was skipped or is still to do. */
  readonly skips: readonly string[]
  /** Name and diagnostics, several lines each. */
  readonly failures: readonly string[]
}

interface Assertion {
  readonly ok: boolean
  readonly fullname: string
  readonly skip: boolean | string
  readonly todo: boolean | string
  readonly diag: unknown
  readonly closingTestPoint: boolean
}

/** What stands before the stream (`npm test` has set-up speak first) is ignored; no stream at all is a failure. */
export function summarizeTap(output: string): TapSummary {
  const start = /^TAP version 1[34]$/m.exec(output)
  if (!start) return emptySummary(['no TAP was printed: the tests did not start'])
  const counter = new Counter()
  const parser = new Parser()
  counter.watch(parser)
  let whole: { readonly ok: boolean; readonly bailout: boolean | string } | undefined
  parser.on('complete', (results) => {
    whole = results
  })
  parser.end(output.slice(start.index))
  if (whole?.ok !== true && counter.failures.length === 0)
    counter.failures.push(
      whole?.bailout ? `bailed out: ${String(whole.bailout)}` : 'the TAP stream is incomplete',
    )
  return counter.summary()
}

function emptySummary(failures: readonly string[]): TapSummary {
  return { passed: 0, failed: failures.length, skipped: 0, skips: [], failures }
}

class Counter {
  #passed = 0
  readonly #skips: string[] = []
  readonly failures: string[] = []

  watch(parser: Parser): void {
    let failuresBefore = 0
    parser.on('child', (child: Parser) => {
      failuresBefore = this.failures.length
      this.watch(child)
    })
    parser.on('assert', (assertion: Assertion) =>
      this.#count(assertion, this.failures.length > failuresBefore),
    )
  }

  /**
   * The point that closes a subtest repeats what is in it. It counts only where it failed on its own: the
   * process died, ran out of time, or planned something else.
   */
  #count({ ok, fullname, skip, todo, diag, closingTestPoint }: Assertion, failedInside: boolean): void {
    if (closingTestPoint && (ok || failedInside)) return
    if (skip) this.#skips.push(`${fullname}: ${skip === true ? 'no reason given' : skip}`)
    else if (todo) this.#skips.push(`${fullname}: to do${todo === true ? '' : `: ${todo}`}`)
    else if (ok) this.#passed++
    else this.failures.push(`${fullname}\n${diagnostics(diag)}`.trimEnd())
  }

  summary(): TapSummary {
    return {
      passed: this.#passed,
      failed: this.failures.length,
      skipped: this.#skips.length,
      skips: this.#skips,
      failures: this.failures,
    }
  }
}

/** How tap started the file: the same for every file, and of no help. */
const NOISE = new Set(['stdio', 'cwd', 'externalID', 'command', 'args', 'jobId'])

function diagnostics(diag: unknown): string {
  if (typeof diag !== 'object' || diag === null) return ''
  const telling = Object.entries(diag).filter(([key]) => !NOISE.has(key))
  return stringify(Object.fromEntries(telling), { blockQuote: 'literal', lineWidth: 0 })
}
