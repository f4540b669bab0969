import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ukiBoot } from '../evidence/testing/measured-boot.ts'
import { UP_TO_DATE_SVN } from '../evidence/testing/tdx-quote.ts'
import { parseEventLog } from '../formats/event-log/parse.ts'
import { replayEventLog } from '../formats/event-log/replay.ts'
import { syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { decodeGuestPolicy } from '../formats/snp/flags.ts'
import { memoryLog } from './audit/memory-log.ts'
import { canonicalJson } from './protocol/canonical-json.ts'
import { startBroker } from './server.ts'
import { makeServerCertificate } from './server-certificate.ts'
import { memoryStore } from './store/resource-store.ts'
import {
  SIMULATED_TIME,
  serdeSnpGuest,
  snpGuest,
  snpRelease,
  tdxGuest,
  tdxRelease,
} from './testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY, SECRET } from './testing/fixture.ts'
import { guestKey, RcarClient } from './testing/rcar-client.ts'

t.setTimeout(120_000)

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
    // Trustee's client hashes the header as serde would write it: these members, in this order, without white space.
    const { protected: header } = JSON.parse(answer.text) as { protected: string }
    const epk = '"epk":[{]"crv":"[^"]+","kty":"EC","x":"[^"]+","y":"[^"]+"[}]'
    const written =
      kind === 'RSA'
        ? /^[{]"alg":"RSA-OAEP-256","enc":"A256GCM"[}]$/
        : new RegExp(`^[{]"alg":"ECDH-ES[+]A256KW","enc":"A256GCM",${epk}[}]$`)
    t.match(Buffer.from(header, 'base64url').toString(), written)
  })
}

t.test('a TDX guest gets its resource, too', async (t) => {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: tdxRelease() } })
  const guest = fixture.client()
  t.equal((await guest.attest(tdxGuest())).status, 200)
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET)
})

t.test(
  'a TDX guest with its event log is held to what the log says, as far as the registers cover it',
  async (t) => {
    const events = ukiBoot('rtmr')
    const log = syntheticLog(events, { banks: ['sha384'] })
    const registers = replayEventLog(parseEventLog(log), 'sha384')
    const rtmrs = [1, 2, 3, 4].map((index) => registers.get(index) ?? Buffer.alloc(48))
    const teeTcbSvn = UP_TO_DATE_SVN
    const cases = [
      ['the log of its boot', rtmrs, 'on', 200, 200],
      ['a rule that its boot does not meet', rtmrs, 'off', 200, 403],
      ['registers of another boot', [...rtmrs.slice(1), Buffer.alloc(48, 1)], 'on', 401, 401],
    ] as const
    for (const [name, values, secureBoot, attested, released] of cases) {
      const policies = { [ROOT_KEY]: tdxRelease({ eventLog: { secureBoot } }) }
      await using fixture = await brokerFixture({ policies })
      const guest = fixture.client()
      const source = tdxGuest({ rtmrs: values, teeTcbSvn })
      const primary = (digest: Buffer) => ({
        ...(source.primary(digest) as object),
        cc_eventlog: log.toString('base64'),
      })
      t.equal((await guest.attest({ ...source, primary })).status, attested, name)
      t.equal(
        (await guest.resource(ROOT_KEY)).status,
        released,
        JSON.stringify(fixture.records[1]).slice(0, 900),
      )
    }
  },
)

t.test('a guest that sends its report as Trustee’s attester does gets its resource', async (t) => {
  await using fixture = await brokerFixture()
  const guest = fixture.client()
  t.equal((await guest.attest(serdeSnpGuest())).status, 200)
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET)
})

t.test(
  'a guest on the wrong platform, in debug mode or older than allowed gets a token and no resource',
  async (t) => {
    const {
      policy: { snp = {} },
    } = snpRelease()
    const debug = decodeGuestPolicy(0x30000n | (1n << 19n))
    const cases = [
      ['TDX where SNP is demanded', tdxGuest(), tdxRelease({ snp }), 'evidence-missing'],
      ['debug', snpGuest({ policy: debug }), snpRelease(), 'debug'],
      [
        'TCB',
        snpGuest(),
        snpRelease({ snp: { ...snp, minimumReportedTcb: { milan: { snp: 99 } } } }),
        'reported-tcb',
      ],
      ['VLEK demanded', snpGuest(), snpRelease({ snp: { ...snp, signingKeys: ['vlek'] } }), 'signing-key'],
      ['another chip', snpGuest(), snpRelease({ snp: { ...snp, chipIds: ['00'.repeat(64)] } }), 'chip-id'],
      ['HOST_DATA', snpGuest(), snpRelease({ snp: { ...snp, hostData: ['11'.repeat(32)] } }), 'host-data'],
    ] as const
    for (const [name, source, release, finding] of cases) {
      const { tdx: _, ...policy } = release.policy
      await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: { ...release, policy } } })
      const guest = fixture.client()
      t.equal((await guest.attest(source)).status, 200, name)
      t.equal((await guest.resource(ROOT_KEY)).status, 403, name)
      t.match(fixture.records[1], {
        event: 'attest',
        outcome: 'attested',
        verdicts: [{ authentic: true, acceptable: false }],
      })
      t.match(JSON.stringify(fixture.records[1]), `"code":"${finding}"`, name)
    }
  },
)

t.test('each resource has its own policy: what one releases the other withholds', async (t) => {
  const other = snpRelease({ snp: { launchDigests: ['00'.repeat(48)] } })
  const policies = { [ROOT_KEY]: snpRelease(), 'default/key/same': snpRelease(), 'default/key/other': other }
  const resources = Object.fromEntries(Object.keys(policies).map((path) => [path, SECRET]))
  await using fixture = await brokerFixture({ policies, resources })
  const guest = fixture.client()
  await guest.attest(snpGuest())
  const statuses = await Promise.all(
    Object.keys(policies).map(async (path) => (await guest.resource(path)).status),
  )
  t.strictSame(statuses, [200, 200, 403])
  const [, attest] = fixture.records
  t.ok(
    attest?.event === 'attest' && attest.verdicts.length === 2,
    'equal policies are held against the evidence once',
  )
})

t.test('the digest is the one that was negotiated, and SHA-384 where nothing was', async (t) => {
  const cases = [
    [['sha256'], 'sha256'],
    [['SHA512', 'sha256'], 'sha512'],
    [['sha256', 'sha384', 'sha512'], 'sha384'],
    [undefined, undefined],
  ] as const
  for (const [supported, selected] of cases) {
    await using fixture = await brokerFixture()
    const guest = fixture.client()
    const extra = supported ? { 'supported-hash-algorithms': supported } : ''
    const { nonce, text } = await guest.auth('snp', extra)
    t.strictSame(JSON.parse(text)['extra-params'], selected ? { 'selected-hash-algorithm': selected } : '')
    t.equal(Buffer.from(nonce, 'base64').length, 32)
    const bound = { 'additional-evidence': '', nonce, 'tee-pubkey': guest.key.jwk }
    const digest = createHash(selected ?? 'sha384')
      .update(canonicalJson(bound))
      .digest()
    const message = guest.attestation(nonce, { ...snpGuest(), primary: () => snpGuest().primary(digest) })
    t.equal((await guest.post('/kbs/v0/attest', message)).status, 200)
    t.equal((await guest.resource(ROOT_KEY)).status, 200, `bound by ${selected}`)
  }
})

t.test('init data counts where the guest was launched with it', async (t) => {
  const body = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\nalgorithm = "sha512"\n"broker" = "x"\n'
  const hostData = createHash('sha256').update(body).digest()
  const cases = [
    ['the right one', { initData: { format: 'toml', body } }, hostData, [200, 200]],
    ['another', { initData: { format: 'toml', body: `${body} ` } }, hostData, [200, 403]],
    [
      'of no algorithm',
      { initData: { format: 'toml', body: '[data]\nalgorithm = "sha256"\n' } },
      hostData,
      [400, 401],
    ],
    ['in another format', { initData: { format: 'json', body } }, hostData, [400, 401]],
  ] as const
  for (const [name, more, host, statuses] of cases) {
    await using fixture = await brokerFixture()
    const guest = fixture.client()
    const attested = await guest.attest(snpGuest({ hostData: host }, more))
    t.strictSame([attested.status, (await guest.resource(ROOT_KEY)).status], statuses, name)
  }
})

t.test('canonical JSON orders by UTF-16 units and writes numbers as RFC 8785 does', (t) => {
  // RFC 8785, 3.2.3 and 3.2.2.
  const members = { '\u20ac': 1, '\r': 2, '\ufb33': 3, 1: 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }
  t.equal(
    canonicalJson(members),
    '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}',
  )
  t.equal(
    canonicalJson(JSON.parse('[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]')),
    '[333333333.3333333,1e+30,4.5,0.002,1e-27]',
  )
  t.equal(canonicalJson({ b: [null, true, ''], a: {} }), '{"a":{},"b":[null,true,""]}')
  t.throws(() => canonicalJson('\ud800'), { code: 'bad-value' } as never)
  t.throws(() => canonicalJson(Number.NaN), { code: 'bad-value' } as never)
  t.end()
})

t.test('a broker that closes answers what it accepted, and nothing new', async (t) => {
  const held = Promise.withResolvers<void>()
  const log = memoryLog()
  const append: typeof log.append = async (record) => {
    if (record.event === 'resource') await held.promise
    await log.append(record)
  }
  const fixture = await brokerFixture({ audit: { append } })
  const guest = fixture.client()
  await guest.attest(snpGuest())
  const answer = guest.resource(ROOT_KEY)
  // The other guest is answered later than the first one's request was read: both are on the same loop.
  await fixture.client().send('GET', '/health')
  const closed = fixture.broker.close()
  held.resolve()
  t.equal((await answer).status, 200)
  await closed
  await t.rejects(fixture.client().send('GET', '/health'), 'nobody listens any more')
  t.strictSame(
    log.records.map(({ event }) => event),
    ['start', 'attest', 'resource', 'stop'],
  )
  await fixture.broker.close()
  t.equal(log.records.length, 4, 'closed once')
})

t.test('a broker on a socket speaks the same protocol', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-broker-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const socket = join(directory, randomBytes(4).toString('hex'))
  const tls = await makeServerCertificate({ names: ['localhost'], now: new Date() })
  await using broker = await startBroker({
    ...{ listen: { socket }, tls, audit: memoryLog(), clock: () => SIMULATED_TIME },
    store: memoryStore(new Map([[ROOT_KEY, SECRET]])),
    policies: new Map([[ROOT_KEY, snpRelease()]]),
  })
  t.equal(broker.port, undefined)
  const guest = new RcarClient({ port: undefined, socket, certificatePem: tls.certificatePem })
  t.teardown(() => guest.close())
  t.equal((await guest.attest(snpGuest())).status, 200)
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET)
})
