import t from 'tap'
import type { ScenarioResult } from '../run/events.ts'
import { scrubbedSignature } from './make.ts'
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

t.test('what did not fail is no failure that is the same', async (t) => {
  for (const outcome of ['pass', 'skip'] as const) {
    const one = signatureOf({ ...RESULT, outcome, reason: '', claims: [] }, '')
    t.equal(compareSignatures(one, one), outcome === 'pass' ? 'does not fail here' : 'not tried')
  }
})

t.test('a claim that was not decided here, or by other evidence, was not tried here', async (t) => {
  const [claim] = RESULT.claims
  if (!claim) throw new Error('the result of this test has a claim')
  const passed = (changes: Partial<typeof claim> | undefined) => {
    const claims = changes ? [{ ...claim, outcome: 'pass' as const, ...changes }] : []
    const here = signatureOf({ ...RESULT, outcome: 'pass', reason: '', claims }, '')
    return compareSignatures(theirs, here, { there: RESULT.claims, here: claims })
  }
  t.equal(passed({}), 'does not fail here')
  t.equal(passed({ outcome: 'skip' }), 'not tried')
  t.equal(passed({ basis: 'predicted' }), 'not tried')
  t.equal(passed(undefined), 'not tried')
})

t.test('where an attempt ends with its first false claim, those behind it are not compared', async (t) => {
  const [first] = RESULT.claims
  if (!first) throw new Error('the result of this test has a claim')
  const second = { ...first, id: 'second' }
  const both = signatureOf({ ...RESULT, claims: [first, second] }, '')
  const compare = (here: (typeof first)[], stopsEarly: boolean) =>
    compareSignatures(both, signatureOf({ ...RESULT, claims: here }, ''), {
      ...{ there: [first, second], here, stopsEarly },
    })
  t.equal(compare([first], true), 'same failure')
  t.equal(compare([first], false), 'another failure')
  t.equal(compare([{ ...first, outcome: 'pass' }, second], true), 'another failure', 'the first one held')
  t.equal(compare([{ ...first, got: 'other' }], true), 'another failure')
})

t.test('errors are the same where their first lines are', async (t) => {
  const error = (reason: string) => signatureOf({ ...RESULT, outcome: 'error', reason, claims: [] }, '')
  const compare = (one: string, other: string) => compareSignatures(error(one), error(other))
  t.equal(compare('boot: it took 61 s\na console', 'boot: it took 72 s\nother words'), 'same failure')
  t.equal(compare('bug: at 0xffffffff81000000', 'bug: at 0xffffffff82000000'), 'same failure')
  t.equal(compare('boot: it took 61 s', 'panic: it died'), 'another failure')
  t.equal(compare('bug: TypeError: x is null', 'bug: RangeError: too deep'), 'another failure')
  t.equal(compare('ended without deciding a, b', 'ended without deciding a, c'), 'another failure')
  t.equal(
    compare('console: "login:" did not come in 9 s', 'console: "ready" did not come in 9 s'),
    'another failure',
  )
  t.equal(compareSignatures(error('boot: late'), signatureOf(RESULT, '')), 'another failure')
})

t.test('whether a value that changes was the expected one stays visible', async (t) => {
  const of = (expected: string, got: string) =>
    signatureOf({ ...RESULT, claims: RESULT.claims.map((claim) => ({ ...claim, expected, got })) }, '')
  const [a, b, c] = ['ab'.repeat(32), 'cd'.repeat(32), 'ef'.repeat(32)]
  t.equal(compareSignatures(of(a, b), of(b, c)), 'same failure', 'another random value')
  t.equal(compareSignatures(of(a, b), of(a, a)), 'another failure', 'the expected one')
  t.equal(compareSignatures(of(a, `${a} ${b}`), of(a, `${b} ${a}`)), 'another failure')
})

t.test('a name of a host that was masked is no difference', async (t) => {
  const names = (name: string) => ({ home: `/home/${name}`, host: `${name}-host`, user: name })
  const of = (name: string, text = `/home/${name}/x/a.img of ${name} on ${name}-host`) =>
    scrubbedSignature(
      { ...RESULT, claims: RESULT.claims.map((claim) => ({ ...claim, got: text })) },
      '',
      names(name),
    )
  t.equal(compareSignatures(of('alice'), of('bartholomew')), 'same failure')
  t.equal(compareSignatures(of('alice'), of('bartholomew', 'other words')), 'another failure')
  const here = scrubbedSignature(RESULT, '', { home: '/x', host: 'micro', user: 'boot' })
  t.match(here, { scenario: RESULT.scenario, variant: RESULT.variant }, 'ids are no texts')
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
    ['/tmp/a1/run/x.log', '/var/tmp/b/y.log'],
    ['/srv/runs/20261122T040000Z-0001/a', '/state/20261123T050000Z-0002/a'],
    ['6c1a6ec2-8a0c-4f0c-9d4e-1f6f5b0a77e5', '00000000-0000-0000-0000-000000000000'],
    ['2026-11-22T04:15:02Z', '2025-01-01 00:00:00.123'],
    [`0x${'ab'.repeat(20)}`, 'cd'.repeat(32)],
    ['took 1.5 s', 'took 72 s'],
    ['pid 123456', 'pid 98765'],
  ] as const)
    t.equal(got(one), got(other), one)
  for (const [one, other] of [
    ['exit 7', 'exit 8'],
    ['/usr/bin/a failed', '/usr/bin/b failed'],
    ['/etc/crypttab', '/etc/fstab'],
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
