/**
 * TAP 14 (testanything.org): a subtest for each run of a scenario, a test point for each claim. Only escaped text goes in:
 * what a guest printed may look like TAP.
 */
import { escapeControls, jsonText } from '../base/text.ts'
import type { ClaimResult, RunEvent, RunResult, ScenarioResult } from '../run/events.ts'
import { withoutCommands } from './github.ts'
import { describeVariant } from './labels.ts'
import type { Reporter } from './reporter.ts'

/** Written as the run goes on; the plan comes last. */
export class TapReporter implements Reporter {
  readonly name = 'TAP report'
  readonly #write: (text: string) => void
  #points = 0
  #begun = false

  constructor(write: (text: string) => void) {
    this.#write = write
  }

  event(event: RunEvent): void {
    if (!this.#begun) this.#write('TAP version 14\n')
    this.#begun = true
    if (event.type === 'run-note') this.#write(`# ${withoutCommands(escapeControls(event.text))}\n`)
    else if (event.type === 'scenario-ended') {
      this.#points += 1
      this.#write(subtest(event.result, this.#points))
    } else if (event.type === 'run-ended') this.#end(event.result)
  }

  #end({ expired = [] }: RunResult): void {
    for (const { place, reason, until } of expired) {
      this.#points += 1
      const name = description(`the mark at ${place} is in force`)
      this.#write(`not ok ${this.#points} - ${name}\n${diagnostic('', { reason, until })}`)
    }
    this.#write(`1..${this.#points}\n`)
  }
}

const INDENT = '    '

function subtest(result: ScenarioResult, number: number): string {
  const { scenario, variant, outcome, reason, dir, seconds, repetition, attempts, unstable } = result
  const turn = repetition === undefined ? '' : ` no. ${repetition}`
  const name = description(`${scenario} (${describeVariant(variant)})${turn}`)
  const points = result.claims.map((claim, index) => claimPoint(claim, index + 1))
  const isOk = outcome === 'pass' || outcome === 'skip'
  // What is marked unstable does not fail the run, and a failed TODO does not fail a TAP stream.
  const directive =
    outcome === 'skip'
      ? ` # SKIP ${description(reason)}`
      : unstable === undefined
        ? ''
        : ` # TODO unstable: ${description(unstable)}`
  const facts = {
    duration_ms: Math.round(seconds * 1000),
    ...(isOk ? {} : { outcome, reason, directory: dir }),
    ...(attempts > 1 && { attempts }),
  }
  return [
    `# Subtest: ${name}\n`,
    ...points,
    `${INDENT}1..${points.length}\n`,
    `${isOk ? 'ok' : 'not ok'} ${number} - ${name}${directive}\n`,
    diagnostic('', facts),
  ].join('')
}

function claimPoint({ claim, basis, outcome, expected, got }: ClaimResult, number: number): string {
  const name = description(`${claim} (${basis})`)
  if (outcome === 'skip') return `${INDENT}ok ${number} - ${name} # SKIP ${description(got)}\n`
  if (outcome === 'pass') return `${INDENT}ok ${number} - ${name}\n`
  return `${INDENT}not ok ${number} - ${name}\n${diagnostic(INDENT, { expected, got })}`
}

/** One line; `#` would begin a directive. */
function description(text: string): string {
  return escapeControls(text).replace(/[\\#]/g, '\\$&')
}

/** A YAML block; its texts as JSON strings, which are YAML's double-quoted scalars. */
function diagnostic(indent: string, facts: Readonly<Record<string, string | number>>): string {
  const lines = Object.entries(facts).map(([key, value]) => {
    const text = typeof value === 'string' ? jsonText(escapeControls(value)) : value
    return `${indent}  ${key}: ${text}\n`
  })
  return `${indent}  ---\n${lines.join('')}${indent}  ...\n`
}
