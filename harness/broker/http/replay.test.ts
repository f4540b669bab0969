import t from 'tap'
import { Sessions } from '../sessions.ts'
import { snpGuest } from '../testing/emulated-guests.ts'
import { brokerFixture, type Fixture, ROOT_KEY, SECRET } from '../testing/fixture.ts'
import { hostile } from '../testing/hostile.ts'
import { rawConnection } from '../testing/raw-client.ts'

t.setTimeout(120_000)

const raw = ({ broker, certificate }: Fixture) => rawConnection(broker.port, certificate.certificatePem)

hostile('a nonce is good for one attestation, whatever came of it', async (t, fixture) => {
  const guest = fixture.client()
  const { nonce } = await guest.auth('snp')
  const good = guest.attestation(nonce, snpGuest())
  const bad = guest.attestation(nonce, { tee: 'snp', primary: () => ({ outblob: 'AAAA' }) })
  t.equal((await guest.post('/kbs/v0/attest', bad)).status, 401)
  t.equal((await guest.post('/kbs/v0/attest', good)).status, 401, 'even the right evidence comes too late')
  const again = fixture.client()
  const second = await again.auth('snp')
  const message = again.attestation(second.nonce, snpGuest())
  t.equal((await again.post('/kbs/v0/attest', message)).status, 200)
  t.equal((await again.post('/kbs/v0/attest', message)).status, 401, 'replayed in its own session')
  const thief = fixture.client()
  await thief.auth('snp')
  t.equal((await thief.post('/kbs/v0/attest', message)).status, 401, 'replayed in another')
  const twice = fixture.client()
  const third = await twice.auth('snp')
  const body = twice.attestation(third.nonce, snpGuest())
  const other = fixture.client()
  other.cookie = twice.cookie
  const answers = await Promise.all([twice.post('/kbs/v0/attest', body), other.post('/kbs/v0/attest', body)])
  t.strictSame(answers.map(({ status }) => status).sort(), [200, 401], 'and of two at once one counts')
})

hostile('a stolen cookie opens nothing without the key of the guest', async (t, fixture) => {
  const guest = fixture.client()
  await guest.attest(snpGuest({ measurement: Buffer.alloc(48, 9) }))
  const thief = fixture.client()
  thief.cookie = guest.cookie
  t.equal((await thief.resource(ROOT_KEY)).status, 403)
  const owner = await brokerFixture()
  const honest = owner.client()
  await honest.attest(snpGuest())
  const robber = owner.client()
  robber.cookie = honest.cookie
  const answer = await robber.resource(ROOT_KEY)
  await t.rejects(robber.open(answer), 'encrypted to somebody else')
  t.strictSame(await honest.open(answer), SECRET)
  await owner.broker.close()
})

hostile('two cookies of a session are one too many', async (t, fixture) => {
  const headers = { cookie: 'kbs-session-id=a; kbs-session-id=b' }
  const answer = await fixture.client().send('GET', `/kbs/v0/resource/${ROOT_KEY}`, { headers })
  t.equal(answer.status, 400)
})

hostile(
  'many open sessions push out one another, and no guest that is attested',
  async (t, fixture) => {
    const attested = fixture.client()
    await attested.attest(snpGuest({ measurement: Buffer.alloc(48, 9) }))
    const early = fixture.client()
    const first = await early.auth('snp')
    const flood = fixture.client()
    for (let count = 0; count < 1_200; count++) {
      flood.cookie = undefined
      await flood.auth('snp')
    }
    const { text } = await flood.send('GET', '/health')
    t.match(JSON.parse(text), { sessions: { pending: 500, attested: 1 } })
    t.equal((await early.post('/kbs/v0/attest', early.attestation(first.nonce, snpGuest()))).status, 401)
    t.equal((await attested.resource(ROOT_KEY)).status, 403, 'still known')
  },
  { limits: { maxPending: 500, burst: 100_000 } },
)

hostile(
  'connections beyond the limit are closed, and the others served',
  async (t, fixture) => {
    const held = await Promise.all(Array.from({ length: 20 }, () => raw(fixture)))
    await t.rejects(raw(fixture))
    for (const { socket } of held) socket.destroy()
    await Promise.all(held.map(({ ended }) => ended))
  },
  { limits: { connections: 20 } },
)

t.test('one body of a session is read at a time, and reading it does not use the session up', (t) => {
  const sessions = new Sessions()
  const now = new Date('2026-01-01T00:00:00Z')
  const { cookie } = sessions.open({ tee: 'snp', algorithm: 'sha384', network: 'a' }, now)
  const first = sessions.claim(cookie, now)
  t.equal(first.refusal, undefined)
  t.match(sessions.claim(cookie, now).refusal, { code: 'no-session' }, 'while it is read')
  first[Symbol.dispose]()
  sessions.claim(cookie, now)[Symbol.dispose]()
  t.match(sessions.claim(undefined, now).refusal, { code: 'no-session' })
  t.match(sessions.claim('0'.repeat(32), now).refusal, { code: 'no-session' })
  const late = new Date(now.getTime() + 300_000)
  t.match(sessions.claim(cookie, late).refusal, { code: 'session-expired' })
  t.ok(sessions.take(cookie, now))
  t.match(sessions.claim(cookie, now).refusal, { code: 'no-session' }, 'when it is taken')
  t.end()
})

t.test('an address that opens many sessions pushes out its own', (t) => {
  const sessions = new Sessions({ maxPending: 100 })
  const now = new Date('2026-01-01T00:00:00Z')
  const open = (network: string) => sessions.open({ tee: 'snp', algorithm: 'sha384', network }, now).cookie
  const honest = open('a')
  const flood = Array.from({ length: 1_000 }, () => open('b'))
  t.equal(sessions.counts.pending, 100)
  t.match(sessions.claim(flood[900], now).refusal, { code: 'no-session' })
  t.equal(sessions.claim(flood[901], now).refusal, undefined)
  t.ok(sessions.take(honest, now))
  t.end()
})

t.test('a hundred thousand sessions take the room of ten thousand, and end by themselves', (t) => {
  const sessions = new Sessions()
  const start = new Date('2026-01-01T00:00:00Z')
  const what = { tee: 'snp', algorithm: 'sha384', network: 'a' } as const
  const cookies = Array.from({ length: 100_000 }, () => sessions.open(what, start).cookie)
  t.equal(new Set(cookies).size, 100_000, 'no cookie twice')
  t.strictSame(sessions.counts, { pending: 10_000, attested: 0 })
  t.throws(
    () => sessions.take(cookies[0] ?? '', start),
    { code: 'no-session' } as never,
    'the oldest is gone',
  )
  t.ok(sessions.take(cookies.at(-1) ?? '', start), 'the latest is there')
  sessions.giveUp()
  sessions.open(what, new Date(start.getTime() + 300_000))
  t.strictSame(sessions.counts, { pending: 1, attested: 0 }, 'after five minutes')
  t.end()
})
