/**
 * JUnit XML, as Jenkins and GitLab read it: a suite for each run of a scenario, a case for each claim. What broke is an
 * `error`; what is marked unstable and failed is `skipped`, with the failure in its words, since it fails no run.
 */
import { escapeControls } from '../base/text.ts'
import type { ClaimResult, PlannedEntry, RunEvent, RunResult, ScenarioResult } from '../run/events.ts'
import { describeVariant } from './labels.ts'
import type { Reporter } from './reporter.ts'

/**
 * Written at the end: the counts come first. A run that is cut short, or never begins, leaves what had ended and an error
 * for itself and for each scenario that had not: a reader takes a report without one for a success.
 */
export class JunitReporter implements Reporter {
  readonly name = 'JUnit report'
  readonly #write: (text: string) => void
  readonly #planned = new Map<string, PlannedEntry>()
  readonly #results = new Map<string, ScenarioResult>()
  #result: RunResult | undefined

  constructor(write: (text: string) => void) {
    this.#write = write
  }

  event(event: RunEvent): void {
    if (event.type === 'run-started' || event.type === 'run-extended')
      for (const entry of event.planned) this.#planned.set(entry.key, entry)
    if (event.type === 'scenario-ended') this.#results.set(event.key, event.result)
    if (event.type === 'run-ended') this.#result = event.result
  }

  close(): void {
    if (this.#result === undefined) this.#write(junitXml({ results: this.#known() }, NOT_ENDED))
    else this.#write(junitXml(this.#result, isEmpty(this.#result) ? NOTHING_RAN : undefined))
  }

  #known(): readonly ScenarioResult[] {
    const open = [...this.#planned].filter(([key]) => !this.#results.has(key))
    return [...this.#results.values(), ...open.map(([, entry]) => notEnded(entry))]
  }
}

const NOT_ENDED = 'the run did not begin, or broke before its end'
const NOTHING_RAN = 'nothing was run'

function isEmpty({ results, otherShards }: RunResult): boolean {
  return results.length === 0 && otherShards === undefined
}

function notEnded({ scenario, variant, repetition }: PlannedEntry): ScenarioResult {
  return {
    ...{ scenario, variant, outcome: 'error', reason: 'interrupted: the run broke before this ended' },
    ...{ seconds: 0, claims: [], dir: '', attempts: 0, ...(repetition !== undefined && { repetition }) },
  }
}

interface Case {
  readonly name: string
  readonly kind: 'pass' | 'failure' | 'error' | 'skipped'
  /** Of what did not pass. */
  readonly message?: string
  readonly text?: string
}

/** `broken`: why the run as a whole is in error, where it is. */
export function junitXml({ results, expired = [] }: RunResult, broken?: string): string {
  const suites = [
    ...results.map((result) => ({
      name: suiteName(result),
      seconds: result.seconds,
      cases: casesOf(result),
      result,
    })),
    ...(expired.length === 0
      ? []
      : [
          {
            ...{ name: 'matrix', seconds: 0, result: undefined },
            cases: expired.map(({ place, reason, until }): Case => {
              const message = `the mark "${reason}" held until ${until}`
              return { name: `the mark at ${place} is in force`, kind: 'error', message }
            }),
          },
        ]),
  ]
  if (broken !== undefined) {
    const cases: Case[] = [{ name: 'the run comes to its end', kind: 'error', message: broken }]
    suites.push({ name: 'run', seconds: 0, result: undefined, cases })
  }
  const all = suites.flatMap(({ cases }) => cases)
  const seconds = suites.reduce((sum, suite) => sum + suite.seconds, 0)
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="attestbed"${counts(all)} time="${seconds.toFixed(3)}">`,
    ...suites.flatMap(({ name, seconds, cases, result }) => [
      `  <testsuite name="${attribute(name)}"${counts(cases)} time="${seconds.toFixed(3)}">`,
      ...(result ? properties(result) : []),
      ...cases.flatMap((each, index) =>
        caseLines(each, { className: result?.scenario ?? name, seconds: index === 0 ? seconds : 0 }),
      ),
      '  </testsuite>',
    ]),
    '</testsuites>',
    '',
  ].join('\n')
}

function suiteName({ scenario, variant, repetition }: ScenarioResult): string {
  const turn = repetition === undefined ? '' : ` no. ${repetition}`
  return `${scenario} (${describeVariant(variant)})${turn}`
}

function casesOf(result: ScenarioResult): readonly Case[] {
  const { outcome, reason, claims, unstable } = result
  const cases = claims.map(caseOf)
  const itself = 'the scenario comes to its end'
  if (outcome === 'skip') cases.push({ name: itself, kind: 'skipped', message: reason })
  if (outcome === 'error')
    cases.push({ name: itself, kind: 'error', message: firstLine(reason), text: reason })
  if (outcome === 'fail' && !cases.some(({ kind }) => kind === 'failure'))
    cases.push({ name: itself, kind: 'failure', message: firstLine(reason), text: reason })
  if (cases.length === 0) cases.push({ name: itself, kind: 'pass' })
  if (unstable === undefined) return cases
  return cases.map((each) =>
    each.kind === 'failure' || each.kind === 'error'
      ? { ...each, kind: 'skipped', message: `unstable: ${unstable}; ${each.kind}: ${each.message}` }
      : each,
  )
}

function caseOf({ claim, basis, outcome, expected, got }: ClaimResult): Case {
  const name = `${claim} (${basis})`
  if (outcome === 'pass') return { name, kind: 'pass' }
  if (outcome === 'skip') return { name, kind: 'skipped', message: got }
  return { name, kind: 'failure', message: 'the claim is false', text: `expected ${expected}\ngot ${got}` }
}

function properties({ variant, dir, attempts, unstable, outcome }: ScenarioResult): readonly string[] {
  const values = {
    ...variant,
    outcome,
    attempts,
    directory: dir,
    ...(unstable !== undefined && { unstable }),
  }
  const lines = Object.entries(values).map(
    ([name, value]) => `      <property name="${name}" value="${attribute(String(value))}"/>`,
  )
  return ['    <properties>', ...lines, '    </properties>']
}

function caseLines(
  { name, kind, message = '', text = '' }: Case,
  { className, seconds }: { readonly className: string; readonly seconds: number },
): readonly string[] {
  const open = `    <testcase classname="${attribute(className.replaceAll('/', '.'))}" name="${attribute(name)}" time="${seconds.toFixed(3)}"`
  if (kind === 'pass') return [`${open}/>`]
  const said = `message="${attribute(message)}"`
  if (kind === 'skipped')
    return [
      `${open}>`,
      text === '' ? `      <skipped ${said}/>` : `      <skipped ${said}>${content(text)}</skipped>`,
      '    </testcase>',
    ]
  const type = kind === 'failure' ? 'claim-false' : 'infrastructure'
  return [`${open}>`, `      <${kind} ${said} type="${type}">${content(text)}</${kind}>`, '    </testcase>']
}

function counts(cases: readonly Case[]): string {
  const count = (kind: Case['kind']): number => cases.filter((each) => each.kind === kind).length
  return ` tests="${cases.length}" failures="${count('failure')}" errors="${count('error')}" skipped="${count('skipped')}"`
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? ''
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** What XML 1.0 forbids (2.2, Char) is shown as its code; line feeds too, which an attribute would lose. */
function attribute(text: string): string {
  return escapeControls(text)
    .replace(/[\ufffe\uffff]/g, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`)
    .replace(/[&<>"]/g, (character) => ENTITIES[character] ?? '')
}

function content(text: string): string {
  return text.split('\n').map(attribute).join('\n')
}
