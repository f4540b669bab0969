import t from 'tap'
import type { ScenarioResult } from '../../run/events.ts'
import { claim, result } from '../testing/fake-run.ts'
import { compareResults } from './compare.ts'

function changed(old: Partial<ScenarioResult>, now: Partial<ScenarioResult>) {
  return compareResults([result(old)])(result(now)).kind
}

const failed = (...ids: string[]) => ({
  outcome: 'fail' as const,
  claims: ids.map((id) => claim({ id, outcome: 'fail' })),
})

t.test('a claim that was not false before is a new failure, also behind an old error', async (t) => {
  t.equal(changed({ outcome: 'error', claims: [] }, failed('a')), 'new-failure')
  t.equal(changed(failed('a'), failed('b')), 'new-failure')
  t.equal(changed(failed('a'), failed('a', 'b')), 'new-failure')
  t.equal(changed(failed('a'), { outcome: 'error', claims: [] }), 'new-failure')
  t.equal(changed(failed('a', 'b'), failed('b')), 'still-failing')
  t.equal(changed({ outcome: 'error' }, { outcome: 'error' }), 'still-failing')
})

t.test('a pass that proves less than before is told from the same one', async (t) => {
  const hardware = [claim({ id: 'a', basis: 'hardware' }), claim({ id: 'b' })]
  t.equal(changed({ claims: hardware }, { claims: hardware }), 'same')
  t.equal(changed({ claims: hardware }, { claims: [claim({ id: 'a' }), claim({ id: 'b' })] }), 'weaker')
  t.equal(changed({ claims: hardware }, { claims: hardware.slice(0, 1) }), 'weaker', 'one is gone')
  const skipped = hardware.map((each) => ({ ...each, outcome: 'skip' as const }))
  t.equal(changed({ claims: hardware }, { claims: [...hardware.slice(0, 1), ...skipped.slice(1)] }), 'weaker')
  t.equal(changed({ claims: skipped }, { claims: hardware }), 'same', 'more is no less')
  t.equal(changed(failed('a'), { claims: [claim({ id: 'b' })] }), 'weaker', 'what was false is not decided')
  t.equal(changed(failed('a'), { claims: [claim({ id: 'a' })] }), 'fixed')
})
