/** The first bad version of an ordered list. Versions that cannot be tried are passed over, not guessed about. */
import { HostError, InterruptedError, MaterialError, UsageError } from '../base/errors.ts'
import type { Comparison } from './signature.ts'
import { SUITES } from './versions.ts'

export type Verdict = 'good' | 'bad' | 'skipped'

export interface Tried {
  readonly title: string
  readonly comparison: Comparison
  /** In words, of what happened. */
  readonly reason: string
  /** Run directory. */
  readonly directory: string
}

export interface Step extends Tried {
  readonly version: string
  readonly verdict: Verdict
}

export type Found =
  | {
      readonly kind: 'first-bad'
      readonly version: string
      readonly title: string
      readonly lastGood: string
    }
  /** The first bad one is among these, the last of which is bad. */
  | { readonly kind: 'among'; readonly versions: readonly string[] }
  | { readonly kind: 'not-bisectable'; readonly reason: string }

/**
 * What became of a version whose material could not be had or is none: nothing can be said of it, and the others are still
 * worth a try. Anything else that `attempt` throws is thrown.
 */
export async function orNotTried(version: string, attempt: () => Promise<Tried>): Promise<Tried> {
  try {
    return await attempt()
  } catch (error) {
    if (!(error instanceof HostError || error instanceof MaterialError)) throw error
    const reason = `${error.code}: ${error.message}`
    return { title: version, comparison: 'not tried', reason, directory: '' }
  }
}

/** Bad is the failure of the bundle. Another failure is as little a sign of it as a broken infrastructure. */
export function verdictOf(comparison: Comparison): Verdict {
  if (comparison === 'same failure') return 'bad'
  return comparison === 'does not fail here' ? 'good' : 'skipped'
}

/**
 * The ordered versions from `good` to `bad`. Throws UsageError `bad-value` for a list that does not begin and end with
 * them, or that has one twice, and where both are suites in the wrong order.
 */
export function versionsBetween({
  good,
  bad,
  versions,
}: {
  readonly good: string
  readonly bad: string
  readonly versions?: readonly string[]
}): readonly string[] {
  const all = versions ?? between(SUITES, good, bad) ?? [good, bad]
  const wrong =
    all.length < 2 || good === bad
      ? 'two different versions are required'
      : all[0] !== good || all.at(-1) !== bad
        ? `the versions go from ${all[0]} to ${all.at(-1)}, from ${good} to ${bad} is required`
        : undefined
  if (wrong === undefined) return all
  throw new UsageError(`cannot bisect: ${wrong}`, {
    ...{ code: 'bad-value', hint: '--versions lists them in order, the good one first and the bad one last' },
  })
}

function between(order: readonly string[], good: string, bad: string): readonly string[] | undefined {
  const [first, last] = [order.indexOf(good), order.indexOf(bad)]
  return first < 0 || last < 0 ? undefined : order.slice(first, last + 1)
}

interface BisectOptions {
  readonly signal?: AbortSignal
  readonly onStep?: (step: Step) => Promise<void> | void
}

/**
 * Tries both ends, then halves what is between them. Tries each version once at most, some log2 of them where none is
 * skipped. What `tryVersion` throws ends the search.
 */
export async function bisectVersions(
  versions: readonly string[],
  tryVersion: (version: string) => Promise<Tried>,
  { signal, onStep }: BisectOptions = {},
): Promise<Found> {
  const titles = new Map<string, string>()
  const attempt = async (version: string): Promise<Verdict> => {
    if (signal?.aborted) throw new InterruptedError('the bisect was interrupted')
    const tried = await tryVersion(version)
    const verdict = verdictOf(tried.comparison)
    titles.set(version, tried.title)
    await onStep?.({ ...tried, version, verdict })
    return verdict
  }
  const at = (index: number): string => versions[index] ?? ''
  const titleAt = (index: number): string => titles.get(at(index)) ?? at(index)
  for (const [index, wanted] of [
    [versions.length - 1, 'bad'],
    [0, 'good'],
  ] as const) {
    const verdict = await attempt(at(index))
    if (verdict === wanted) continue
    const reason = `${titleAt(index)} was named as ${wanted}, and is ${verdict}: there is nothing to search for`
    return { kind: 'not-bisectable', reason }
  }
  let [good, bad] = [0, versions.length - 1]
  const skipped = new Set<number>()
  for (let next = middle(good, bad, skipped); next !== undefined; next = middle(good, bad, skipped)) {
    const verdict = await attempt(at(next))
    if (verdict === 'good') good = next
    else if (verdict === 'bad') bad = next
    else skipped.add(next)
  }
  if (bad - good === 1)
    return { kind: 'first-bad', version: at(bad), title: titleAt(bad), lastGood: titleAt(good) }
  return { kind: 'among', versions: versions.slice(good + 1, bad + 1) }
}

/** The version nearest to the middle that has not been passed over; undefined where there is none. */
function middle(good: number, bad: number, skipped: ReadonlySet<number>): number | undefined {
  const centre = (good + bad) / 2
  let best: number | undefined
  for (let index = good + 1; index < bad; index++) {
    if (skipped.has(index)) continue
    if (best === undefined || Math.abs(index - centre) < Math.abs(best - centre)) best = index
  }
  return best
}
