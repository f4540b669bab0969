import t from 'tap'
import type { ScenarioResult } from '../run/events.ts'
import { compareSignatures, signatureOf } from './signature.ts'
import { RESULT } from './testing/fake-point.ts'

const theirs = signatureOf(RESULT, 'a line\nthe last line')

function compared(changes: Partial<ScenarioResult>, claim: Partial<ScenarioResult['claims'][number]> = {}) {
  const claims = RESULT.claims.map((each) => ({ ...each, ...claim }))
  return compareSignatures(theirs, signatureOf({ ...RESULT, claims, ...changes }, 'other words'))
}

t.test(
  'the same false claim with the same values is the same failure, whatever else is different',
  async (t) => {
    t.equal(compared({}), 'same failure')
    t.equal(compared({ seconds: 99, dir: '/elsewhere', reason: 'other words', attempts: 2 }), 'same failure')
    t.equal(
      compared({ variant: { ...RESULT.variant, firmware: 'ovmf' } }),
      'same failure',
      'so a bisect can tell',
    )
  },
)

t.test('another claim, another value, another outcome: another failure, or none', async (t) => {
  t.equal(compared({}, { id: 'other' }), 'another failure')
  t.equal(compared({}, { got: '{"exitCode":9}' }), 'another failure')
  t.equal(compared({}, { expected: '{"exitCode":1}' }), 'another failure')
  t.equal(compared({ outcome: 'pass', claims: [] }), 'does not fail here')
  t.equal(compared({ outcome: 'error', reason: 'boot: too late', claims: [] }), 'not tried')
  t.equal(compared({ outcome: 'skip', reason: 'platform-unusable: x', claims: [] }), 'not tried')
})

t.test('errors are the same where their codes are', async (t) => {
  const error = (reason: string) => signatureOf({ ...RESULT, outcome: 'error', reason, claims: [] }, '')
  const boot = error('boot: the guest took 61 s')
  t.equal(compareSignatures(boot, error('boot: the guest took 72 s, at 0xffffffff81000000')), 'same failure')
  t.equal(compareSignatures(boot, error('panic: it died')), 'another failure')
  t.equal(compareSignatures(boot, signatureOf(RESULT, '')), 'another failure')
})

t.test('the digest that a bundle brings along is not believed', async (t) => {
  const forged = { ...theirs, falseClaims: [], digest: theirs.digest }
  t.equal(compareSignatures(forged, theirs), 'another failure')
})

t.test('what differs from run to run is taken out, what tells failures apart stays', async (t) => {
  const got = (text: string) =>
    signatureOf({ ...RESULT, claims: RESULT.claims.map((claim) => ({ ...claim, got: text })) }, '')
      .falseClaims[0]?.got
  for (const [one, other] of [
    ['/tmp/a1/run/x.log', '/var/lib/b/y.log'],
    ['6c1a6ec2-8a0c-4f0c-9d4e-1f6f5b0a77e5', '00000000-0000-0000-0000-000000000000'],
    ['2026-11-22T04:15:02Z', '2025-01-01 00:00:00.123'],
    [`0x${'ab'.repeat(20)}`, 'cd'.repeat(32)],
    ['took 1.5 s', 'took 72 s'],
    ['pid 123456', 'pid 98765'],
  ] as const)
    t.equal(got(one), got(other), one)
  for (const [one, other] of [
    ['exit 7', 'exit 8'],
    ['slot a', 'slot b'],
    ['[1,0]', '[1,1]'],
    ['pcr7', 'pcr4'],
  ] as const)
    t.not(got(one), got(other), one)
})

t.test('what a guest prints cannot drive a terminal, and cannot make it take long', async (t) => {
  const hostile = `\x1b[2Jx\n${'/a'.repeat(1e6)}\n${'0'.repeat(1e6)}`
  const { console } = signatureOf(RESULT, hostile)
  t.notOk(console.some((line) => line.includes('\x1b')))
  t.ok(console.every((line) => line.length < 10_000))
})
