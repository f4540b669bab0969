/**
 * Hostile input: a few thousand mutations of everything that is parsed, another few thousand each time. A finding
 * names its seed; `node scripts/fuzz.ts --seed N` has it again, and goes on for longer.
 */
import { randomInt } from 'node:crypto'
import t from 'tap'
import { parseEventLog } from '../formats/event-log/parse.ts'
import { replayEventLog } from '../formats/event-log/replay.ts'
import { fuzz } from './testing/fuzz/engine.ts'
import { honestRequests } from './testing/fuzz/lying-logs.ts'
import { Random } from './testing/fuzz/random.ts'
import { relabel } from './testing/fuzz/relabel.ts'
import { fuzzTargets } from './testing/fuzz/targets.ts'
import { verifyEvidence } from './verify-evidence.ts'

const INPUTS = 1000
/** Of logs that stay authentic, so that all of their meaning is judged each time. */
const LOGS = 250
const seed = Number(process.env['ATTESTBED_FUZZ_SEED'] ?? randomInt(2 ** 32))

for (const target of fuzzTargets()) {
  const inputs = target.mutate ? LOGS : INPUTS
  t.test(`${target.name}: ${inputs} mutations, seed ${seed}`, async (t) => {
    for (const input of target.seeds) {
      t.doesNotThrow(() => target.run(input), 'the seed itself')
      t.not(target.isBelieved?.(input), false, 'the seed is authentic, so that a forgery would be noticed')
    }
    const { findings, tried } = fuzz(target, { random: new Random(seed), inputs })
    t.equal(tried, inputs)
    for (const { input, error } of findings)
      t.fail(`${error}: ${Buffer.from(input).toString('base64').slice(0, 4000)}`)
  })
}

t.test('a log can be relabelled without breaking its replay, and an honest one is acceptable', async (t) => {
  const random = new Random(seed)
  for (const request of honestRequests()) {
    t.match(await verifyEvidence(request), { acceptable: true })
    const registers = (log: Uint8Array) =>
      [...replayEventLog(parseEventLog(log), 'sha256')].sort(([a], [b]) => a - b)
    const before = registers(request.evidence)
    let kept = 0
    for (let index = 0; index < 100; index++) {
      const log = relabel(request.evidence, random)
      t.same(registers(log), before, `seed ${seed}`)
      if ((await verifyEvidence({ ...request, evidence: log })).authentic) kept += 1
    }
    t.ok(kept > 10, `${kept} of 100 are believed to be authentic, so that their meaning is judged`)
  }
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
