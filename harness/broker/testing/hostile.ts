/** A broker that something is done to, and what must be true of it afterwards. */
import t, { type Test } from 'tap'
import { snpGuest } from './emulated-guests.ts'
import { brokerFixture, type Fixture, type FixtureOptions, ROOT_KEY, SECRET } from './fixture.ts'

/** Whatever was done to it: the broker serves the next honest guest, and its log has nothing released before. */
async function staysWhole(t: Test, fixture: Fixture): Promise<void> {
  t.notOk(fixture.records.some((record) => record.event === 'resource' && record.outcome === 'released'))
  const guest = fixture.client()
  t.equal((await guest.attest(snpGuest())).status, 200)
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET)
  t.match(fixture.records.at(-1), { event: 'resource', outcome: 'released' })
}

export function hostile(
  name: string,
  run: (t: Test, fixture: Fixture) => Promise<void>,
  options: FixtureOptions = {},
): void {
  t.test(name, async (t) => {
    const errors: unknown[] = []
    await using fixture = await brokerFixture({ onError: (error) => errors.push(error), ...options })
    await run(t, fixture)
    await staysWhole(t, fixture)
    t.strictSame(errors, [], 'nothing of it was our bug')
  })
}
