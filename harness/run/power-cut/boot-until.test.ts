import t from 'tap'
import { LaunchError, TimeoutError } from '../../base/errors.ts'
import { bootUntil } from './boot-until.ts'
import { sampleOf, samplingOf, secondsFor } from './sampling.ts'

const LATER = Date.now() + 3_600_000
/** Its timer fires when all that is ready has been done. */
const SPENT = 0
const never = new Promise<never>(() => {})
const up = { came: 'up' as const }
const down = { came: 'down' as const }

t.test('all states are booted in their order', async (t) => {
  const seen: unknown[] = []
  const outcomes = await bootUntil(LATER, [up, down, up], async (each, index) => {
    seen.push(index)
    return each
  })
  t.strictSame(outcomes, [up, down, up])
  t.strictSame(seen, [0, 1, 2])
  t.strictSame(await bootUntil(0, [], async () => up), [])
})

t.test('a state that is down counts though the budget runs out after it', async (t) => {
  t.strictSame(await bootUntil(SPENT, [up, down, up], async (each, index) => (index < 2 ? each : never)), [
    up,
    down,
  ])
  const late = new TimeoutError('a control was late', { code: 'boot' })
  t.strictSame(
    await bootUntil(LATER, [down, up], async (each) => (each === up ? Promise.reject(late) : each)),
    [down],
  )
})

t.test('states that were not booted are not taken for good ones', async (t) => {
  const spent = { name: 'TimeoutError', code: 'scenario', message: /1 of 2 states/ }
  await t.rejects(
    bootUntil(SPENT, [up, up], async (each, index) => (index < 1 ? each : never)),
    spent,
  )
  const error = new LaunchError('QEMU is gone', { code: 'qemu-crashed' })
  const broken = bootUntil(LATER, [down, up], async (each) => (each === up ? Promise.reject(error) : each))
  await t.rejects(broken, error, 'what broke below is no budget')
})

t.test('only a scenario that boots states gets more time for more of them', async (t) => {
  const plain = { vcpus: 1, memoryMiB: 512, seconds: 900 }
  const cuts = { ...plain, secondsPerState: 100 }
  const seconds = (budget: typeof plain, states?: number | 'all') =>
    secondsFor(
      budget,
      samplingOf(
        states === undefined ? {} : { states: states === 'all' ? states : { first: 1, last: states } },
      ),
    )
  t.strictSame([seconds(plain), seconds(plain, 40), seconds(plain, 'all')], [900, 900, 900])
  t.strictSame([seconds(cuts), seconds(cuts, 1), seconds(cuts, 5)], [900, 900, 1000])
  t.equal(secondsFor(cuts, samplingOf({ states: { first: 41, last: 50 } })), 1500, 'of a range those in it')
  t.ok(seconds(cuts, 'all') > 3600)
})

t.test('ranges that follow each other are all states once; one behind the end is refused', async (t) => {
  const all = [1, 2, 3, 4, 5]
  const sample = (first: number, last: number) =>
    sampleOf(all, samplingOf({ seed: 1, states: { first, last } }))
  t.strictSame([...sample(1, 2), ...sample(3, 4), ...sample(5, 60)], all)
  t.strictSame(sampleOf(all, samplingOf({ states: 'all' })), all)
  t.throws(() => sample(6, 8), { code: 'bad-value', message: /states 6 to 8: there are 5 / })
})
