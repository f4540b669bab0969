/**
 * A small set of variants in which every pair of values of two axes that can meet at all does meet: faults are mostly
 * set off by one value or by two together. Greedy cover of the pairs, always by the candidate that has most of those
 * that are still missing; since candidates are given, what is excluded can never come back in.
 */

/** One value of each axis, as text; all rows have the same length. */
export type Row = readonly string[]

/**
 * Indices of `rows` that together have every pair that any of them has, ascending. The same rows give the same set.
 * `tierOf`: every pair that rows of tier 0 have is taken from these; those of tier 1 add only what is left, and so on.
 */
export function pairwise(
  rows: readonly Row[],
  tierOf: (index: number) => number = () => 0,
): readonly number[] {
  const pairs = pairsOf(rows)
  const tiers = Map.groupBy(rows.keys(), tierOf)
  const covered = new Set<number>()
  return [...tiers]
    .sort(([left], [right]) => left - right)
    .flatMap(([, indices]) => coverOf(pairs, indices, covered))
    .sort((left, right) => left - right)
}

/** For each row the numbers of its pairs; a row of a single axis has its value as its only one. */
function pairsOf(rows: readonly Row[]): readonly (readonly number[])[] {
  const numbers = new Map<string, number>()
  const numberOf = (pair: string): number => {
    const known = numbers.get(pair)
    if (known !== undefined) return known
    numbers.set(pair, numbers.size)
    return numbers.size - 1
  }
  const axes = varyingAxes(rows)
  return rows.map((row) => {
    const values = axes.map((axis) => `${axis}=${row[axis]?.length}:${row[axis]}`)
    const [only] = values
    if (values.length === 1 && only !== undefined) return [numberOf(only)]
    return values.flatMap((left, index) =>
      values.slice(index + 1).map((right) => numberOf(`${left};${right}`)),
    )
  })
}

/** An axis with one value adds no pair that the others do not have. */
function varyingAxes(rows: readonly Row[]): readonly number[] {
  const [first] = rows
  const all = first?.map((_, axis) => axis) ?? []
  const varying = all.filter((axis) => rows.some((row) => row[axis] !== first?.[axis]))
  return varying.length === 0 ? all.slice(0, 1) : varying
}

/**
 * What a row adds only shrinks as others are taken, so a row that is looked at again and still adds as much as was last
 * known of the best is the best: most rows are looked at a few times only. Adds to `covered`.
 */
function coverOf(
  pairs: readonly (readonly number[])[],
  among: readonly number[],
  covered: Set<number>,
): readonly number[] {
  const before = new Set(covered)
  const gainOf = (row: number): number => pairs[row]?.filter((pair) => !covered.has(pair)).length ?? 0
  const byGain: number[][] = []
  const put = (row: number, gain: number): void => {
    byGain[gain] ??= []
    byGain[gain].push(row)
  }
  // Backwards, since rows are taken from the end: earlier ones come first.
  for (const row of among.toReversed()) put(row, gainOf(row))
  const taken: number[] = []
  for (let gain = byGain.length - 1; gain > 0; ) {
    const row = byGain[gain]?.pop()
    if (row === undefined) {
      gain--
      continue
    }
    const now = gainOf(row)
    if (now === gain) {
      taken.push(row)
      for (const pair of pairs[row] ?? []) covered.add(pair)
    } else if (now > 0) put(row, now)
  }
  return withoutNeedless(pairs, taken, before)
}

/** What was taken early may have become needless by what came later. */
function withoutNeedless(
  pairs: readonly (readonly number[])[],
  taken: readonly number[],
  before: ReadonlySet<number>,
): readonly number[] {
  const times = new Map<number, number>()
  for (const row of taken) for (const pair of pairs[row] ?? []) times.set(pair, (times.get(pair) ?? 0) + 1)
  return taken.filter((row) => {
    const own = (pairs[row] ?? []).filter((pair) => !before.has(pair))
    if (own.some((pair) => times.get(pair) === 1)) return true
    for (const pair of own) times.set(pair, (times.get(pair) ?? 0) - 1)
    return false
  })
}
