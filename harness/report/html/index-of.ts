/** The index of the page: every run in a few words, and how it compares with another run. */
import type { ClaimResult, ScenarioResult } from '../../run/events.ts'
import type { RunRecord } from '../record/run-record.ts'
import { compareResults, pointOf } from './compare.ts'
import { REPORT_FORMAT, type ReportIndex, type RunAbout, type RunRow } from './data.ts'

export interface PlacedResult {
  readonly result: ScenarioResult
  readonly place: RunRow['place']
}

interface IndexParts {
  readonly runs: readonly RunRecord[]
  readonly placed: readonly PlacedResult[]
  readonly before?: RunRecord
}

export function makeIndex({ runs, placed, before }: IndexParts): ReportIndex {
  const changes = before && compareResults(before.result.results)
  const scenarios = new Map<string, { title: string; claims: Record<string, string> }>()
  for (const { titles } of runs)
    for (const [id, title] of titles) scenarios.set(id, { title, claims: noClaims() })
  for (const { result } of placed) {
    const about = scenarios.get(result.scenario) ?? { title: '', claims: noClaims() }
    for (const { id, claim } of result.claims) about.claims[id] = claim
    scenarios.set(result.scenario, about)
  }
  const here = new Set(placed.map(({ result }) => pointOf(result)))
  const gone = before?.result.results.filter((result) => !here.has(pointOf(result)))
  return {
    format: REPORT_FORMAT,
    title: 'Attestbed',
    runs: runs.map(aboutOf),
    scenarios: Object.fromEntries(scenarios),
    rows: placed.map(({ result, place }) => ({
      ...rowOf(result, place),
      ...(changes && { change: changes(result) }),
    })),
    ...(before && { before: aboutOf(before) }),
    ...(gone && { gone: gone.map(({ scenario, variant, outcome }) => ({ scenario, variant, outcome })) }),
    problems: [...runs, ...(before ? [before] : [])].flatMap(({ problems }) => problems),
  }
}

/** Without a prototype: an id may be `__proto__`. */
function noClaims(): Record<string, string> {
  return Object.create(null)
}

function aboutOf(run: RunRecord): RunAbout {
  const { directory, bundle, startedAt, endedAt, host, notes, result, ended } = run
  return {
    // Where a bundle was unpacked is gone before anybody reads this.
    ...{ directory: bundle ?? directory, startedAt, ms: endedAt - startedAt, notes, ended },
    ...(host && { host }),
    expired: (result.expired ?? []).map(
      ({ place, reason, until, variants }) =>
        `${place}: the mark "${reason}" held until ${until}; it no longer skips ${variants}`,
    ),
  }
}

const LONGEST_REASON = 300

function rowOf(result: ScenarioResult, place: RunRow['place']): RunRow {
  const { scenario, variant, repetition, outcome, reason, seconds, attempts, unstable, claims } = result
  return {
    ...{ scenario, variant, outcome, seconds, attempts, place },
    ...(repetition !== undefined && { repetition }),
    reason: (reason.split('\n')[0] ?? '').slice(0, LONGEST_REASON),
    ...(unstable !== undefined && { unstable }),
    claims: claims.map(({ id, basis, outcome }) => [id, BASIS_LETTERS[basis], outcome.slice(0, 1)] as const),
  }
}

const BASIS_LETTERS: Readonly<Record<ClaimResult['basis'], string>> = {
  ...{ hardware: 'H', rehearsed: 'R', emulated: 'E', predicted: 'P' },
}
