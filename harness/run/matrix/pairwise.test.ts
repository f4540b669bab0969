import fc from 'fast-check'
import t from 'tap'
import { pairwise, type Row } from './pairwise.ts'

/** Every combination of a value of each axis; `sizes`: how many values each has. */
function product(sizes: readonly number[]): Row[] {
  return sizes.reduce<string[][]>(
    (rows, size) => rows.flatMap((row) => Array.from({ length: size }, (_, value) => [...row, `${value}`])),
    [[]],
  )
}

/** By definition, and unlike what is tested: two axes and a value of each. */
function pairsIn(rows: readonly Row[]): Set<string> {
  const pairs = new Set<string>()
  for (const row of rows)
    for (let left = 0; left < row.length; left++)
      for (let right = left + 1; right < row.length; right++)
        pairs.add(JSON.stringify([left, row[left], right, row[right]]))
  return pairs
}

const chosenFrom = (rows: readonly Row[], indices: readonly number[]) =>
  indices.map((index) => rows[index] ?? [])

t.test('every pair that can meet meets, whatever is left out; the same rows give the same set', async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 5 })
  fc.assert(
    fc.property(sizes, fc.array(fc.nat()), (lengths, removed) => {
      const all = product(lengths)
      const gone = new Set(removed.map((number) => number % all.length))
      const rows = all.filter((_, index) => !gone.has(index))
      const indices = pairwise(rows)
      const chosen = chosenFrom(rows, indices)
      if (new Set(indices).size !== indices.length) return false
      if (rows.length > 0 && chosen.length === 0) return false
      return (
        pairsIn(chosen).size === pairsIn(rows).size &&
        JSON.stringify(pairwise(rows)) === JSON.stringify(indices)
      )
    }),
    { numRuns: 300 },
  )
})

t.test('each tier covers all that it can by itself; the next stands only for what is left', async () => {
  const tiers = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 24, maxLength: 24 })
  fc.assert(
    fc.property(tiers, (given) => {
      const rows = product([2, 3, 4])
      const tierOf = (index: number): number => given[index] ?? 0
      const indices = pairwise(rows, tierOf)
      return [0, 1, 2].every((tier) => {
        const upTo = (index: number): boolean => tierOf(index) <= tier
        const possible = pairsIn(rows.filter((_, index) => upTo(index)))
        return pairsIn(chosenFrom(rows, indices.filter(upTo))).size === possible.size
      })
    }),
  )
})

t.test('is not far from the least that is possible', async (t) => {
  // Least known sizes of covering arrays of strength 2 (the product of the two longest axes is a lower bound).
  const cases = [
    { sizes: [2, 2, 2], least: 4, most: 4 },
    { sizes: [3, 3, 3, 3], least: 9, most: 10 },
    { sizes: [2, 2, 2, 2, 2, 2, 2], least: 6, most: 7 },
    { sizes: [4, 4, 4, 4, 4], least: 16, most: 20 },
    { sizes: [6, 3, 3, 2, 2, 3, 2], least: 18, most: 20 },
    { sizes: [10, 10, 10], least: 100, most: 120 },
  ]
  for (const { sizes, least, most } of cases) {
    const { length } = pairwise(product(sizes))
    t.ok(length >= least && length <= most, `${sizes.join('x')}: ${length}, ${least} are possible`)
  }
})

t.test('a single axis keeps each of its values, a single row itself, and nothing nothing', async (t) => {
  t.same(
    pairwise([
      ['a', 'x'],
      ['b', 'x'],
      ['a', 'x'],
    ]),
    [0, 1],
  )
  t.same(pairwise([['a', 'x']]), [0])
  t.same(pairwise([]), [])
})
