import fc from 'fast-check'
import t from 'tap'
import { HostError } from '../base/errors.ts'
import { bisectVersions, orNotTried, type Step, type Tried, verdictOf, versionsBetween } from './bisect.ts'
import type { Comparison } from './signature.ts'

const OF: Readonly<Record<string, Comparison>> = {
  ...{ g: 'does not fail here', b: 'same failure', o: 'another failure', x: 'not tried' },
}

/** A letter a version: good, bad, fails otherwise, broken. */
async function search(behaviour: string) {
  const versions = [...behaviour].map((_, index) => `v${index}`)
  const steps: Step[] = []
  const tryVersion = async (version: string): Promise<Tried> => {
    const comparison = OF[behaviour[Number(version.slice(1))] ?? 'x'] ?? 'not tried'
    return { title: `title of ${version}`, comparison, reason: '', directory: '' }
  }
  const found = await bisectVersions(versions, tryVersion, { onStep: (step) => void steps.push(step) })
  return { found, tried: steps.map(({ version }) => version), steps }
}

t.test('names the first bad version and the last good one', async (t) => {
  const { found, tried } = await search('gggbb')
  t.same(found, { kind: 'first-bad', version: 'v3', title: 'title of v3', lastGood: 'title of v2' })
  t.same(tried, ['v4', 'v0', 'v2', 'v3'], 'the ends first, then halves')
  t.match((await search('gb')).found, { kind: 'first-bad', version: 'v1', lastGood: 'title of v0' })
})

t.test('passes over what breaks or fails otherwise, and says so where that leaves several', async (t) => {
  t.match((await search('gxgob')).found, { kind: 'among', versions: ['v3', 'v4'] })
  t.match((await search('ggxbb')).found, { kind: 'among', versions: ['v2', 'v3'] })
  t.match((await search('gxxxb')).found, { kind: 'among', versions: ['v1', 'v2', 'v3', 'v4'] })
  t.match((await search('gxgbb')).found, { kind: 'first-bad', version: 'v3' })
})

t.test('refuses to search where an end is not what it was named', async (t) => {
  for (const behaviour of ['ggg', 'ggx', 'ggo', 'bbb', 'xgb', 'ogb']) {
    const { found, tried } = await search(behaviour)
    t.equal(found.kind, 'not-bisectable', behaviour)
    t.ok(tried.length <= 2)
  }
})

t.test('finds the border wherever it is, in about log2 of the versions, each tried once', async () => {
  const sizes = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 60 }))
  await fc.assert(
    fc.asyncProperty(sizes, async ([good, bad]) => {
      const { found, tried } = await search('g'.repeat(good) + 'b'.repeat(bad))
      const fewest = Math.ceil(Math.log2(good + bad)) + 3
      return (
        found.kind === 'first-bad' &&
        found.version === `v${good}` &&
        tried.length <= fewest &&
        new Set(tried).size === tried.length
      )
    }),
  )
})

t.test(
  'what it names as first bad is bad, and what it names as last good is good, whatever is skipped',
  async () => {
    const middle = fc.array(fc.constantFrom('g', 'b', 'o', 'x'), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(middle, async (letters) => {
        const behaviour = `g${letters.join('')}b`
        const { found } = await search(behaviour)
        if (found.kind === 'not-bisectable') return false
        const last = found.kind === 'first-bad' ? found.version : (found.versions.at(-1) ?? '')
        const before = found.kind === 'first-bad' ? 1 : found.versions.length
        const index = Number(last.slice(1))
        return behaviour[index] === 'b' && behaviour[index - before] === 'g'
      }),
    )
  },
)

t.test('bad is the same failure, and no other', async (t) => {
  t.same(Object.values(OF).map(verdictOf), ['good', 'bad', 'skipped', 'skipped'])
})

t.test(
  'the versions between two suites are those of Debian; a list must begin and end as named',
  async (t) => {
    t.same(versionsBetween({ good: 'bookworm', bad: 'forky' }), ['bookworm', 'trixie', 'forky'])
    t.same(versionsBetween({ good: './a', bad: './b' }), ['./a', './b'])
    t.same(versionsBetween({ good: 'a', bad: 'c', versions: ['a', 'b', 'c'] }), ['a', 'b', 'c'])
    for (const wrong of [
      { good: 'forky', bad: 'bookworm' },
      { good: './a', bad: './a' },
      { good: 'a', bad: 'c', versions: ['a', 'b'] },
      { good: 'a', bad: 'c', versions: ['c', 'a'] },
    ])
      t.throws(() => versionsBetween(wrong), { code: 'bad-value' }, JSON.stringify(wrong))
  },
)

t.test('a version whose material cannot be had is passed over; a bug is not', async (t) => {
  const lost = async () => {
    throw new HostError('the suite has no such package', { code: 'program-missing' })
  }
  t.match(await orNotTried('sid', lost), { title: 'sid', comparison: 'not tried', reason: /program-missing/ })
  const bug = async () => {
    throw new TypeError('x')
  }
  await t.rejects(orNotTried('sid', bug), { name: 'TypeError' })
})
