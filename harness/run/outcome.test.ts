import t from 'tap'
import { HostError, LaunchError, TimeoutError } from '../base/errors.ts'
import type { ClaimResult } from './events.ts'
import { failsRun, judge } from './outcome.ts'

const claim = (outcome: ClaimResult['outcome'], id = 'opens'): ClaimResult => ({
  id,
  claim: 'the root opens',
  basis: 'emulated',
  outcome,
  expected: '',
  got: '',
})
const timeout = new TimeoutError('no login within 60 s', { code: 'boot' })

t.test('all claims true is a pass, also beside one that needs hardware', async (t) => {
  t.equal(judge({ claims: [claim('pass'), claim('skip', 'hidden')], undecided: [] }).outcome, 'pass')
})

t.test('a false claim is a fail, even when the infrastructure broke afterwards', async (t) => {
  const judged = judge({ claims: [claim('fail')], undecided: ['later'], thrown: timeout })
  t.equal(judged.outcome, 'fail')
  t.match(judged.reason, /"opens" is false.*then boot: no login within 60 s/)
})

t.test('a broken infrastructure is an error, never a fail', async (t) => {
  t.same(judge({ claims: [claim('pass')], undecided: [], thrown: timeout }), {
    outcome: 'error',
    reason: 'boot: no login within 60 s',
  })
})

t.test('a fault below the scenario is an error, whatever its claims say', async (t) => {
  const fault = new LaunchError('the vTPM failed', { code: 'swtpm-failed', hint: 'Look at its log' })
  const expected = {
    outcome: 'error',
    reason: 'swtpm-failed: the vTPM failed; the claims prove nothing',
    hint: 'Look at its log',
  }
  t.same(judge({ claims: [claim('pass')], undecided: [], fault }), expected)
  t.same(judge({ claims: [claim('fail')], undecided: [], fault, thrown: timeout }), expected)
})

t.test('what the host lacks is a skip with its code', async (t) => {
  const thrown = new HostError('/dev/kvm is missing', { code: 'platform-unusable' })
  t.same(judge({ claims: [], undecided: ['opens'], thrown }), {
    outcome: 'skip',
    reason: 'platform-unusable: /dev/kvm is missing',
  })
})

t.test('what a scenario lacks for a variant is a skip', async (t) => {
  const thrown = new HostError('x runs with vtpm stateful', { code: 'scenario-lacks' })
  t.equal(judge({ claims: [], undecided: [], thrown }).outcome, 'skip')
})

t.test('what the host lacks only after a claim was decided is an error', async (t) => {
  const thrown = new HostError('no memory is left for the guest', { code: 'not-enough-memory' })
  t.equal(judge({ claims: [], undecided: ['opens'], thrown }).outcome, 'skip')
  t.equal(judge({ claims: [claim('pass')], undecided: [], thrown }).outcome, 'error')
})

t.test('a disk that fills up in mid-run is an error, not a skip', async (t) => {
  const thrown = new HostError('no space is left', { code: 'disk-full' })
  t.equal(judge({ claims: [claim('pass')], undecided: [], thrown }).outcome, 'error')
})

t.test('a claim that was forgotten is an error, not a pass', async (t) => {
  t.equal(judge({ claims: [claim('pass')], undecided: ['hidden'] }).outcome, 'error')
  t.equal(judge({ claims: [], undecided: ['opens'] }).outcome, 'error')
})

t.test('nothing but claims that need hardware is a skip, not a pass', async (t) => {
  t.equal(judge({ claims: [claim('skip')], undecided: [] }).outcome, 'skip')
})

t.test('an unknown error is our bug and says where', async (t) => {
  const judged = judge({ claims: [], undecided: [], thrown: new TypeError('x is undefined') })
  t.equal(judged.outcome, 'error')
  t.match(judged.reason, /^bug: TypeError: x is undefined\n\s+at /)
})

t.test('a run fails, and --until-failure ends, for what the matrix does not mark as unstable', async (t) => {
  t.ok(failsRun({ outcome: 'fail' }))
  t.ok(failsRun({ outcome: 'error' }))
  t.notOk(failsRun({ outcome: 'fail', unstable: 'now and then' }))
  t.notOk(failsRun({ outcome: 'error', unstable: 'now and then' }))
  t.notOk(failsRun({ outcome: 'pass' }))
  t.notOk(failsRun({ outcome: 'skip' }))
})
