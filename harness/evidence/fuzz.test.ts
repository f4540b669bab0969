/**
 * Hostile input: a few thousand mutations of everything that is parsed, another few thousand each time. A finding
 * names its seed; `node scripts/fuzz.ts --seed N` has it again, and goes on for longer.
 */
import { randomInt } from 'node:crypto'
import t from 'tap'
import { fuzz } from './testing/fuzz/engine.ts'
import { Random } from './testing/fuzz/random.ts'
import { fuzzTargets } from './testing/fuzz/targets.ts'

const INPUTS = 1000
const seed = Number(process.env['ATTESTBED_FUZZ_SEED'] ?? randomInt(2 ** 32))

for (const target of fuzzTargets())
  t.test(`${target.name}: ${INPUTS} mutations, seed ${seed}`, async (t) => {
    for (const input of target.seeds) t.doesNotThrow(() => target.run(input), 'the seed itself')
    const { findings, tried } = fuzz(target, { random: new Random(seed), inputs: INPUTS })
    t.equal(tried, INPUTS)
    for (const { input, error } of findings)
      t.fail(`${error}: ${Buffer.from(input).toString('base64').slice(0, 4000)}`)
  })

t.test('what may never happen is found', async (t) => {
  const broken = {
    ...{ name: 'broken', seeds: [Buffer.alloc(16)], maxBytes: 64 },
    run: (input: Uint8Array) => {
      if (input.length > 0 && input[0] !== 0) throw new RangeError('crash')
    },
  }
  const { findings } = fuzz(broken, { random: new Random(seed), inputs: INPUTS })
  t.equal(findings.length, 1, 'the same fault many times is one finding')
  const again = [1, 1].map(() => fuzz(broken, { random: new Random(7), inputs: 100 }))
  t.same(again[0], again[1], 'a seed gives the same inputs')
})
