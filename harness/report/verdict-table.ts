/** The table at the end of a run: every scenario, every claim, what it rests on, and why it did not hold. */
import { displayWidth, escapeControls } from '../base/text.ts'
import type { ClaimResult, Outcome, RunResult, ScenarioResult } from '../run/events.ts'
import { describeVariant } from './labels.ts'
import { clock, pad, wrap } from './layout.ts'
import type { Palette } from './palette.ts'
import { OUTCOME_CELLS, remarks } from './result-lines.ts'

export interface TableOptions {
  readonly palette: Palette
  /** Cells of a line; at least 40 are used. A path is never broken, so that it can be copied. */
  readonly width: number
  /** Wall-clock time of the run; scenarios that ran side by side overlap in it. */
  readonly elapsedMs: number
  /** Where the run directories are; empty where none was made. */
  readonly directory: string
}

const INDENT = ' '.repeat(OUTCOME_CELLS + 1)
/** `pass  emulated   `: outcome and basis in front of a claim's sentence. */
const CLAIM_OUTCOME_CELLS = 4
const BASIS_CELLS = 9
const DETAIL_INDENT = ' '.repeat(OUTCOME_CELLS + 1 + CLAIM_OUTCOME_CELLS + 2)
/** Observed values of several lines (a console's tail) are cut to this many. */
const MAX_VALUE_LINES = 12
const MIN_WIDTH = 40

export function verdictTable(run: RunResult, options: TableOptions): string {
  const width = Math.max(options.width, MIN_WIDTH)
  const lines = [
    '',
    ...run.results.flatMap((result) => [...scenarioLines(result, options.palette, width), '']),
    ...summaryLines(run, { ...options, width }),
  ]
  return `${lines.join('\n')}\n`
}

function scenarioLines(result: ScenarioResult, palette: Palette, width: number): readonly string[] {
  const outcome = palette.outcome(result.outcome, pad(result.outcome.toUpperCase(), OUTCOME_CELLS))
  const [title = '', ...more] = hanging(
    `${result.scenario} ${clock(result.seconds * 1000)}${remarks(result)}`,
    INDENT,
    width,
  )
  return [
    `${outcome} ${palette.strong(title.slice(INDENT.length))}`,
    ...more,
    ...hanging(variantWords(result), INDENT, width).map(palette.faint),
    ...result.claims.flatMap((claim) => claimLines(claim, palette, width)),
    ...reasonLines(result, width),
    ...markLines(result, width),
    ...(needsALook(result) ? [`${INDENT}see ${result.dir}`] : []),
  ]
}

function variantWords({ variant, repetition }: ScenarioResult): string {
  return `${describeVariant(variant)}${repetition === undefined ? '' : `, no. ${repetition}`}`
}

/** What the matrix says of it, and what came before the last attempt. */
function markLines({ unstable, broken = [], outcome }: ScenarioResult, width: number): readonly string[] {
  const place = { indent: INDENT, width }
  return [
    ...broken.flatMap(({ reason }, index) => valueLines(`try ${index + 1}`, reason, place)),
    ...(unstable === undefined || outcome === 'skip' ? [] : valueLines('unstable', unstable, place)),
  ]
}

function needsALook({ outcome, dir }: ScenarioResult): boolean {
  return dir !== '' && (outcome === 'fail' || outcome === 'error')
}

/** The reason of a false claim is in the claim's own lines already. */
function reasonLines({ outcome, reason, hint }: ScenarioResult, width: number): readonly string[] {
  if (outcome === 'pass' || outcome === 'fail' || reason === '') return []
  const place = { indent: INDENT, width }
  return [
    ...valueLines(outcome === 'skip' ? 'skipped' : 'because', reason, place),
    ...(hint === undefined ? [] : valueLines('hint', hint, place)),
  ]
}

function claimLines(claim: ClaimResult, palette: Palette, width: number): readonly string[] {
  const word = claim.outcome === 'fail' ? 'FAIL' : claim.outcome
  const lead = `${INDENT}${pad(word, CLAIM_OUTCOME_CELLS)}  ${pad(claim.basis, BASIS_CELLS)}  `
  const [first = '', ...rest] = wrap(escapeControls(claim.claim), width - displayWidth(lead))
  const coloured = `${INDENT}${palette.outcome(claim.outcome, pad(word, CLAIM_OUTCOME_CELLS))}  ${palette.faint(pad(claim.basis, BASIS_CELLS))}  ${first}`
  const sentence = [coloured, ...rest.map((line) => ' '.repeat(lead.length) + line)]
  return [...sentence, ...claimDetails(claim, width)]
}

function claimDetails(claim: ClaimResult, width: number): readonly string[] {
  const place = { indent: DETAIL_INDENT, width }
  if (claim.outcome === 'pass') return []
  if (claim.outcome === 'skip') return valueLines('reason', claim.got, place)
  return [...valueLines('expected', claim.expected, place), ...valueLines('got', claim.got, place)]
}

interface Place {
  readonly indent: string
  readonly width: number
}

/** A value under its name; it may be a guest's text, so each of its lines is escaped. */
function valueLines(name: string, value: string, { indent, width }: Place): readonly string[] {
  const all = value.split(/\r?\n/)
  const kept = all.slice(0, MAX_VALUE_LINES).map((line) => escapeControls(line))
  if (all.length > kept.length) kept.push(`(${all.length - kept.length} more lines in the run directory)`)
  const lead = `${indent}${pad(name, 8)}  `
  const wrapped = kept.flatMap((line) => wrap(line, width - lead.length))
  return wrapped.map((line, index) => (index === 0 ? lead : ' '.repeat(lead.length)) + line)
}

function hanging(text: string, indent: string, width: number): readonly string[] {
  return wrap(text, width - indent.length).map((line) => indent + line)
}

function summaryLines(
  run: RunResult,
  { palette, width, elapsedMs, directory }: TableOptions,
): readonly string[] {
  const scenarios = countBy(run.results, (result) => result.outcome)
  const words = `${counted(scenarios, ['pass', 'fail', 'error', 'skip'])} of ${run.results.length} scenarios in ${clock(elapsedMs)}`
  return [
    ...wrap(words, width).map(palette.strong),
    ...wrap(basisSentence(run), width),
    ...matrixSentences(run).flatMap((words) => wrap(words, width)),
    ...(directory === '' ? [] : [`Run directory: ${directory}`]),
  ]
}

/** What does not show in the outcomes: retries, marks, and marks that are out of date. */
function matrixSentences({ results, expired = [] }: RunResult): readonly string[] {
  const retried = results.filter(({ attempts }) => attempts > 1)
  const retries = retried.reduce((sum, { attempts }) => sum + attempts - 1, 0)
  const unstable = results.filter(({ unstable: mark }) => mark !== undefined)
  const forgiven = unstable.filter(({ outcome }) => outcome === 'fail' || outcome === 'error')
  return [
    ...(retried.length > 0
      ? [
          `Retried after an error: ${amount(retried.length, 'scenario')}, ${amount(retries, 'time')} in all; a fail is never retried.`,
        ]
      : []),
    ...(unstable.length > 0
      ? [
          `Marked unstable: ${unstable.length}, of which ${forgiven.length} did not pass; they do not make the run fail.`,
        ]
      : []),
    ...expired.map(
      ({ place, reason, until, variants }) =>
        `Out of date: ${escapeControls(place)} skips ${variants} until ${until} (${escapeControls(reason)}): remove or renew the mark; until then the run fails.`,
    ),
  ]
}

const SUMMARY_WORDS: Readonly<Record<Outcome, string>> = {
  pass: 'passed',
  fail: 'failed',
  error: 'in error',
  skip: 'skipped',
}

function counted(counts: ReadonlyMap<string, number>, order: readonly Outcome[]): string {
  return order
    .filter((outcome) => outcome === 'pass' || counts.has(outcome))
    .map((outcome) => `${counts.get(outcome) ?? 0} ${SUMMARY_WORDS[outcome]}`)
    .join(', ')
}

/** What the proven claims rest on: the one thing a reader must not overlook. */
function basisSentence(run: RunResult): string {
  const claims = run.results.flatMap((result) => result.claims)
  const proven = claims.filter((claim) => claim.outcome === 'pass')
  const byBasis = countBy(proven, (claim) => claim.basis)
  const parts = [...byBasis]
    .filter(([basis]) => basis !== 'hardware')
    .map(([basis, count]) => `${count} ${basis}`)
  const hardware = byBasis.get('hardware') ?? 0
  const rest = parts.length === 0 ? '' : `, ${parts.join(', ')}`
  const outcomes = countBy(claims, (claim) => claim.outcome)
  const others = `${outcomes.get('fail') ?? 0} false, ${outcomes.get('skip') ?? 0} skipped`
  return `Claims: ${proven.length} of ${claims.length} hold (${hardware} proven by hardware${rest}), ${others}.`
}

function countBy<Item>(items: readonly Item[], keyOf: (item: Item) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1)
  return counts
}

function amount(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}
