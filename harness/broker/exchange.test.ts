import t from 'tap'
import { snpGuest, tdxGuest, tdxRelease } from './testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY, SECRET } from './testing/fixture.ts'
import { guestKey } from './testing/rcar-client.ts'

for (const kind of ['P-256', 'P-521', 'RSA'] as const) {
  t.test(`an attested guest gets its resource, encrypted to its ${kind} key`, async (t) => {
    await using fixture = await brokerFixture()
    const guest = fixture.client(guestKey(kind))
    const attested = await guest.attest(snpGuest())
    t.equal(attested.status, 200)
    const answer = await guest.resource(ROOT_KEY)
    t.equal(answer.status, 200)
    t.notMatch(answer.text, SECRET.toString('base64url'))
    t.strictSame(await guest.open(answer), SECRET)
  })
}

t.test('a TDX guest gets its resource, too', async (t) => {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: tdxRelease() } })
  const guest = fixture.client()
  const attested = await guest.attest(tdxGuest())
  t.equal(attested.status, 200)
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET)
})
