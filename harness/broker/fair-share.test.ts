import t from 'tap'
import { FairShare } from './fair-share.ts'
import { networkOf } from './limits.ts'
import { snpGuest } from './testing/emulated-guests.ts'
import type { Fixture } from './testing/fixture.ts'
import { hostile } from './testing/hostile.ts'
import { rawConnection, statuses } from './testing/raw-client.ts'

t.setTimeout(120_000)

const TOO_MANY = { code: 'too-many-requests' } as never

function share(options: { readonly most: number; readonly stallMs?: number; readonly ofOnePeer?: number }) {
  const now = { ms: 0 }
  const gone: string[] = []
  const made = new FairShare({ what: 'bodies', clock: () => new Date(now.ms), ...options })
  const open = (peer: string, name = peer) => made.open(peer, ({ code }) => gone.push(`${name} ${code}`))
  return { made, now, gone, open }
}

t.test('one address has three quarters, and what it gives back is free again', (t) => {
  const { made, open, gone } = share({ most: 100 })
  const first = open('a')
  first.take(75)
  t.throws(() => first.take(1), TOO_MANY)
  t.throws(() => open('a').take(1), TOO_MANY, 'nor as another body')
  open('b').take(25)
  first.release()
  first.release()
  t.equal(made.taken, 25)
  open('a').take(75)
  t.strictSame(gone, [])
  t.end()
})

t.test(
  'whoever holds most gives way, the body first that was quiet for longest, to who would hold less',
  (t) => {
    const { open, gone, made } = share({ most: 100 })
    const early = open('a', 'early')
    const late = open('a', 'late')
    early.take(30)
    late.take(30)
    early.take(10)
    open('b').take(30)
    open('c').take(30)
    t.strictSame(gone, ['late too-many-requests'])
    t.equal(made.taken, 100)
    const greedy = open('d')
    t.throws(() => greedy.take(40), TOO_MANY, 'as much as the richest is not less')
    greedy.take(35)
    t.strictSame(gone, ['late too-many-requests', 'early too-many-requests'])
    late.release()
    early.release()
    t.equal(made.taken, 95, 'given back once')
    t.end()
  },
)

t.test('what is judged already is not taken back', (t) => {
  const { open, gone } = share({ most: 100, ofOnePeer: 1 })
  const judged = open('a')
  judged.take(100)
  judged.keep()
  t.throws(() => open('b').take(1), TOO_MANY)
  t.strictSame(gone, [])
  t.end()
})

t.test('within an address a body gives way when it was quiet for long, and not before', (t) => {
  const { open, gone, now } = share({ most: 100, stallMs: 2_000 })
  const quiet = open('a', 'quiet')
  quiet.take(70)
  now.ms = 1_999
  t.throws(() => open('a').take(10), TOO_MANY)
  now.ms = 2_000
  open('a', 'next').take(70)
  t.strictSame(gone, ['quiet too-many-requests'])
  now.ms = 9_000
  const alone = open('b')
  t.throws(() => alone.take(101), TOO_MANY, 'not even with all the room')
  t.end()
})

/** Begins a long attest, as of the session of a cookie, and leaves it at that. */
async function stalled(
  fixture: Fixture,
  { from, cookie }: { readonly from: string; readonly cookie: string },
) {
  const { port } = fixture.broker
  const connection = await rawConnection(port, fixture.certificate.certificatePem, from)
  const head = `POST /kbs/v0/attest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65000\r\n`
  connection.socket.write(`${head}Cookie: kbs-session-id=${cookie}\r\n\r\n${'x'.repeat(60_000)}`)
  return connection
}

async function sessionOf(fixture: Fixture): Promise<string> {
  const client = fixture.client()
  await client.auth('snp')
  client.close()
  return client.cookie ?? ''
}

/** The first `count` answers of those. */
function firstAnswers(ended: readonly Promise<string>[], count: number): Promise<readonly string[]> {
  const answers: string[] = []
  return new Promise((resolve, reject) => {
    for (const one of ended)
      one.then((text) => {
        if (answers.push(text) === count) resolve([...answers])
      }, reject)
  })
}

/** Honest, and longer than what is left where nobody gives way. */
async function longAttest(fixture: Fixture): Promise<number> {
  const guest = fixture.client()
  const { nonce } = await guest.auth('snp')
  const body = `${JSON.stringify(guest.attestation(nonce, snpGuest()))}${' '.repeat(30_000)}`
  const answer = await guest.send('POST', '/kbs/v0/attest', {
    body,
    headers: { 'content-type': 'application/json' },
  })
  return answer.status
}

// Four of the stalled bodies fill it.
const SMALL = { attestBytes: 65_536, bodiesBytes: 262_144, strangerBytes: 16_384 }
const EVERY_SESSION = Array.from({ length: 64 })

hostile(
  'an address that begins 64 attestations and leaves them takes nothing from another',
  async (t, fixture) => {
    const cookies = await Promise.all(EVERY_SESSION.map(() => sessionOf(fixture)))
    const held = await Promise.all(cookies.map((cookie) => stalled(fixture, { from: '127.0.0.2', cookie })))
    // More than three of them are not held for one address, and the others are told so.
    const refused = await firstAnswers(
      held.map(({ ended }) => ended),
      61,
    )
    t.ok(refused.every((text) => text.startsWith('HTTP/1.1 429') && text.includes('TooManyRequests')))
    t.equal(await longAttest(fixture), 200)
    for (const { socket } of held) socket.destroy()
  },
  { limits: SMALL },
)

hostile(
  'addresses that leave no room together give way to one that asks for less than each of them holds',
  async (t, fixture) => {
    const addresses = Array.from({ length: 8 }, (_, index) => `127.0.0.${index + 2}`)
    const held = await Promise.all(
      addresses.map(async (from) => stalled(fixture, { from, cookie: await sessionOf(fixture) })),
    )
    const ended = held.map((one) => one.ended)
    await firstAnswers(ended, 4)
    t.equal(await longAttest(fixture), 200)
    t.match(await firstAnswers(ended, 5), Array(5).fill(/^HTTP[/]1[.]1 429 /), 'and are told so')
    for (const { socket } of held) socket.destroy()
  },
  { limits: SMALL },
)

hostile(
  'who has no session is answered and recorded, however long the body, and takes no more room than a short one',
  async (t, fixture) => {
    const held = await Promise.all(
      EVERY_SESSION.map((_, index) =>
        stalled(fixture, { from: '127.0.0.1', cookie: `${index}`.padStart(32, '0') }),
      ),
    )
    for (const { socket } of held) socket.end('x'.repeat(5_000))
    for (const text of await Promise.all(held.map(({ ended }) => ended))) {
      t.strictSame(statuses(text), [401])
      t.match(text, 'errors/AttestationError')
    }
    const empty = { outcome: 'refused', code: 'no-session', evidence: { primary: '' }, teePubkey: '' }
    t.match(fixture.records.slice(1), Array(64).fill(empty))
  },
  // One whole body of them would not fit.
  { limits: { ...SMALL, bodiesBytes: 80_000, strangerBytes: 800 } },
)

hostile(
  'an address that holds every connection gives way to another',
  async (t, { broker, certificate }) => {
    const from = (address: string) => rawConnection(broker.port, certificate.certificatePem, address)
    const held = await Promise.all(Array.from({ length: 20 }, () => from('127.0.0.2')))
    await t.rejects(from('127.0.0.2'), 'not to itself')
    const other = await from('127.0.0.1')
    t.equal(await Promise.race(held.map(({ ended }) => ended)), '', 'one of them is closed')
    other.socket.destroy()
  },
  { limits: { connections: 20 } },
)

t.test('an IPv6 network counts as one, however its addresses are written', async (t) => {
  const one = ['2001:db8::a:b:c:d', '2001:db8::b:0:0:1', '2001:db8:0:0:1:2:3:4', '2001:db8::']
  t.strictSame([...new Set(one.map(networkOf))], ['2001:db8:0:0'])
  t.strictSame([...new Set(['fe80::1%eth0', 'fe80::2:1:2:3'].map(networkOf))], ['fe80:0:0:0'])
  t.equal(networkOf('2001:db8:0:1::1'), '2001:db8:0:1')
  t.strictSame(['::1', '::ffff:10.0.0.5', '10.0.0.5', 'local'].map(networkOf), [
    ...['0:0:0:0', '10.0.0.5', '10.0.0.5', 'local'],
  ])
})
