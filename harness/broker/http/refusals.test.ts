import t from 'tap'
import { sha256Hex } from '../../base/digest.ts'
import { memoryLog } from '../audit/memory-log.ts'
import { REFUSAL_CODES } from '../refusal.ts'
import { SIMULATED_TIME, snpGuest, snpRelease } from '../testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY, SECRET } from '../testing/fixture.ts'
import { guestKey, problemOf } from '../testing/rcar-client.ts'
import { refusals } from '../testing/refused.ts'

t.setTimeout(120_000)

const { refused, seen } = refusals()
const ATTESTATION = { status: 401, type: 'AttestationError' }
const MALFORMED = { status: 400, type: 'SerdeError' }

t.test('malformed-request: what is not a message of the protocol', async (t) => {
  const fixture = await brokerFixture()
  const guest = fixture.client()
  const headers = { 'content-type': 'application/json' }
  const answer = await guest.send('POST', '/kbs/v0/auth', { body: '{"version":"0.4.0"', headers })
  await refused(t, fixture, answer, 'malformed-request', MALFORMED)
  guest.close()
})

t.test('wrong-media-type: a body that is not JSON', async (t) => {
  const fixture = await brokerFixture()
  const guest = fixture.client()
  const headers = { 'content-type': 'text/plain' }
  const answer = await guest.send('POST', '/kbs/v0/auth', { body: '{}', headers })
  await refused(t, fixture, answer, 'wrong-media-type', MALFORMED)
  guest.close()
})

t.test('body-too-large: by what was announced, and by what came', async (t) => {
  const fixture = await brokerFixture({ limits: { authBytes: 1000 } })
  const headers = { 'content-type': 'application/json' }
  const chunked = fixture.client()
  const body = JSON.stringify({ version: '0.4.0', tee: 'snp', 'extra-params': 'x'.repeat(2000) })
  const came = await chunked.send('POST', '/kbs/v0/auth', {
    body,
    headers: { ...headers, 'transfer-encoding': 'chunked' },
  })
  t.equal(came.status, 413)
  const announced = await fixture.client().send('POST', '/kbs/v0/auth', { body, headers })
  t.equal(announced.status, 413)
  t.equal(announced.headers['connection'], 'close')
  await fixture.broker.close()
  t.match(fixture.records.at(-1), { refusals: { 'body-too-large': 2 } })
  seen.add('body-too-large')
})

t.test('version-mismatch: another version of the protocol', async (t) => {
  const fixture = await brokerFixture()
  for (const version of ['0.4.1', '0.3.0', '0.4', '0.4.0-rc1', ''])
    t.equal(
      (await fixture.client().post('/kbs/v0/auth', { version, tee: 'snp', 'extra-params': '' })).status,
      401,
      version,
    )
  const again = await brokerFixture()
  const answer = await again
    .client()
    .post('/kbs/v0/auth', { version: '0.1.0', tee: 'tdx', 'extra-params': 'foo' })
  await fixture.broker.close()
  await refused(t, again, answer, 'version-mismatch', ATTESTATION)
})

t.test('unsupported-tee: also the sample that proves nothing', async (t) => {
  for (const tee of ['sample', 'sgx', 'toString', '']) {
    const fixture = await brokerFixture()
    await refused(t, fixture, await fixture.client().auth(tee), 'unsupported-tee', ATTESTATION)
  }
})

t.test('no-common-hash: a client that can none of ours', async (t) => {
  const fixture = await brokerFixture()
  const answer = await fixture.client().auth('snp', { 'supported-hash-algorithms': ['sm3'] })
  await refused(t, fixture, answer, 'no-common-hash', ATTESTATION)
})

t.test('no-session: evidence without a cookie, and with one that nobody gave out', async (t) => {
  for (const cookie of [undefined, 'f'.repeat(32)]) {
    const fixture = await brokerFixture()
    const guest = fixture.client()
    guest.cookie = cookie
    const answer = await guest.post('/kbs/v0/attest', guest.attestation('nonce', snpGuest()))
    await refused(t, fixture, answer, 'no-session', ATTESTATION)
    const session = cookie === undefined ? '' : sha256Hex(cookie)
    t.match(fixture.records[1], { event: 'attest', outcome: 'refused', code: 'no-session', session })
  }
})

t.test('session-expired: honest evidence, with its cookie, after five minutes', async (t) => {
  for (const [ms, status] of [
    [299_999, 200],
    [300_000, 401],
  ] as const) {
    const now = { time: SIMULATED_TIME }
    const fixture = await brokerFixture({ clock: () => now.time })
    const guest = fixture.client()
    const { nonce } = await guest.auth('snp')
    now.time = new Date(SIMULATED_TIME.getTime() + ms)
    const answer = await guest.post('/kbs/v0/attest', guest.attestation(nonce, snpGuest()))
    t.equal(answer.status, status, `${ms} ms`)
    if (status === 200) await fixture.broker.close()
    else {
      await refused(t, fixture, answer, 'session-expired', ATTESTATION)
      t.match(fixture.records[1], { event: 'attest', outcome: 'refused', code: 'session-expired' })
    }
  }
})

t.test('nonce-mismatch: a stale nonce, in evidence that is bound to it', async (t) => {
  const fixture = await brokerFixture()
  const other = await fixture.client().auth('snp')
  const guest = fixture.client()
  await guest.auth('snp')
  const answer = await guest.post('/kbs/v0/attest', guest.attestation(other.nonce, snpGuest()))
  await refused(t, fixture, answer, 'nonce-mismatch', ATTESTATION)
})

t.test('unsupported-key: keys that nothing is encrypted to', async (t) => {
  const { jwk } = guestKey()
  const rsa = guestKey('RSA').jwk
  const p521 = guestKey('P-521').jwk
  if (jwk.kty !== 'EC' || rsa.kty !== 'RSA' || p521.kty !== 'EC') return t.fail('wrong keys')
  const keys = [
    { ...jwk, crv: 'P-384' },
    { ...jwk, alg: 'ECDH-ES' },
    { ...jwk, y: jwk.x },
    { ...jwk, x: `${jwk.x}=` },
    { ...p521, crv: 'P-256' },
    { ...rsa, alg: 'RSA1_5' },
    { ...rsa, e: 'Aw' },
    { ...rsa, n: rsa.n.slice(0, 171) },
  ]
  for (const changed of keys) {
    const fixture = await brokerFixture()
    const guest = fixture.client({ ...guestKey(), jwk: changed })
    await refused(t, fixture, await guest.attest(snpGuest()), 'unsupported-key', ATTESTATION)
  }
})

t.test('not-authentic: evidence for another key, and under a root that nobody named', async (t) => {
  const fixture = await brokerFixture()
  const guest = fixture.client()
  const { nonce } = await guest.auth('snp')
  const message = guest.attestation(nonce, snpGuest({ reportData: Buffer.alloc(64, 1) }))
  t.equal((await guest.post('/kbs/v0/attest', message)).status, 200, 'a token that opens nothing')
  t.equal((await guest.resource(ROOT_KEY)).status, 403)
  await fixture.broker.close()
  const strict = await brokerFixture({ policies: { [ROOT_KEY]: { policy: { snp: {} } } } })
  await refused(t, strict, await strict.client().attest(snpGuest()), 'not-authentic', ATTESTATION)
  t.match(strict.records[1], {
    ...{ event: 'attest', outcome: 'refused', code: 'not-authentic' },
    verdicts: [{ authentic: false, acceptable: false, findings: [{ code: 'unknown-root' }] }],
  })
})

t.test('not-attested: a resource without a session, and before evidence', async (t) => {
  for (const step of ['nothing', 'auth'] as const) {
    const fixture = await brokerFixture()
    const guest = fixture.client()
    if (step === 'auth') await guest.auth('snp')
    await refused(t, fixture, await guest.resource(ROOT_KEY), 'not-attested', {
      status: 401,
      type: 'TokenNotFound',
    })
  }
})

t.test('bad-token: of another broker, changed, expired, without a signature', async (t) => {
  const now = { time: SIMULATED_TIME }
  const fixture = await brokerFixture({ clock: () => now.time })
  const other = await brokerFixture()
  const guest = fixture.client()
  await guest.attest(snpGuest())
  const stranger = other.client()
  await stranger.attest(snpGuest())
  const [header = '', body = '', signature = ''] = (guest.token ?? '').split('.')
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as object
  const changed = Buffer.from(JSON.stringify({ ...claims, exp: 9_999_999_999 })).toString('base64url')
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  const bearer = (token: string) => {
    const client = fixture.client()
    return client.send('GET', `/kbs/v0/resource/${ROOT_KEY}`, {
      headers: { authorization: `Bearer ${token}` },
    })
  }
  const whole = await bearer(guest.token ?? '')
  t.equal(whole.status, 200, 'the token alone is enough')
  t.strictSame(await guest.open(whole), SECRET, 'and the key in it is the one that counts')
  for (const token of [
    stranger.token ?? '',
    `${header}.${changed}.${signature}`,
    `${none}.${body}.`,
    'x',
    'a.b.c',
  ])
    t.equal((await bearer(token)).status, 401, token.slice(0, 20))
  now.time = new Date(SIMULATED_TIME.getTime() + 301_000)
  t.equal((await bearer(guest.token ?? '')).status, 401, 'expired')
  t.equal((await guest.resource(ROOT_KEY)).status, 401, 'and so is the session')
  await other.broker.close()
  await fixture.broker.close()
  t.match(fixture.records.at(-1), { refusals: { 'bad-token': 6, 'not-attested': 1 } })
  seen.add('bad-token')
})

t.test('policy-denied: another launch digest', async (t) => {
  const cases = {
    'another launch digest': { guest: snpGuest({ measurement: Buffer.alloc(48, 1) }), path: ROOT_KEY },
  }
  for (const [name, { guest: source, path }] of Object.entries(cases)) {
    const fixture = await brokerFixture({ resources: { [ROOT_KEY]: SECRET, 'default/key/other': SECRET } })
    const guest = fixture.client()
    t.equal((await guest.attest(source)).status, 200, name)
    await refused(t, fixture, await guest.resource(path), 'policy-denied', {
      status: 403,
      type: 'PolicyDeny',
    })
    t.match(fixture.records[2], {
      event: 'resource',
      resource: path,
      outcome: 'refused',
      code: 'policy-denied',
    })
  }
})

t.test(
  'no-resource: nothing of this name, told to whom may have it or asks for what has no policy',
  async (t) => {
    for (const path of [ROOT_KEY, 'default/key/none']) {
      const fixture = await brokerFixture({ resources: {} })
      const guest = fixture.client()
      await guest.attest(snpGuest())
      await refused(t, fixture, await guest.resource(path), 'no-resource', {
        status: 404,
        type: 'InvalidRequestPath',
      })
    }
    const unread = await brokerFixture({ failingStore: new Error('the store was asked') })
    const prober = unread.client()
    await prober.attest(snpGuest())
    t.equal((await prober.resource('default/key/other')).status, 404, 'without a policy it is not looked for')
    await unread.broker.close()
    const fixture = await brokerFixture({
      resources: {},
      policies: { [ROOT_KEY]: snpRelease({ snp: { launchDigests: ['00'.repeat(48)] } }) },
    })
    const guest = fixture.client()
    await guest.attest(snpGuest())
    t.equal(
      (await guest.resource(ROOT_KEY)).status,
      403,
      'whoever may not have it does not learn that it is not there',
    )
    await fixture.broker.close()
  },
)

t.test('wrong-method: a path of the protocol with another method', async (t) => {
  const fixture = await brokerFixture()
  const answer = await fixture.client().send('GET', '/kbs/v0/auth')
  await refused(t, fixture, answer, 'wrong-method', { status: 405, type: 'InvalidRequestPath' })
})

t.test('too-many-requests: a peer that is faster than its rate, until it waits', async (t) => {
  const now = { time: SIMULATED_TIME }
  const fixture = await brokerFixture({
    limits: { requestsPerSecond: 1, burst: 2 },
    clock: () => now.time,
  })
  const guest = fixture.client()
  for (const status of [200, 200]) t.equal((await guest.send('GET', '/health')).status, status)
  const answer = await guest.send('GET', '/health')
  now.time = new Date(SIMULATED_TIME.getTime() + 1_000)
  t.equal((await guest.send('GET', '/health')).status, 200)
  await refused(t, fixture, answer, 'too-many-requests', { status: 429, type: 'TooManyRequests' })
})

t.test('too-many-sessions: no place for one more that is attested, until one ends', async (t) => {
  const now = { time: SIMULATED_TIME }
  const fixture = await brokerFixture({ limits: { maxAttested: 1 }, clock: () => now.time })
  const guest = fixture.client()
  t.equal((await guest.attest(snpGuest())).status, 200)
  const answer = await fixture.client().attest(snpGuest())
  t.equal((await guest.resource(ROOT_KEY)).status, 200, 'who is attested stays so')
  now.time = new Date(SIMULATED_TIME.getTime() + 300_000)
  t.equal((await fixture.client().attest(snpGuest())).status, 200)
  const other = snpGuest({ measurement: Buffer.alloc(48, 9) })
  now.time = new Date(SIMULATED_TIME.getTime() + 600_000)
  for (const _ of [1, 2, 3]) t.equal((await fixture.client().attest(other)).status, 200)
  t.equal((await fixture.client().attest(snpGuest())).status, 200, 'who may have nothing holds no place')
  await refused(t, fixture, answer, 'too-many-sessions', { status: 429, type: 'TooManyRequests' })
})

t.test('not-recorded: what the log does not take is not answered, and nothing is released', async (t) => {
  const log = memoryLog()
  const failing = { on: '' }
  const errors: unknown[] = []
  const append: typeof log.append = (record) =>
    record.event === failing.on ? Promise.reject(new Error('ENOSPC')) : log.append(record)
  const fixture = await brokerFixture({ audit: { append }, onError: (error) => errors.push(error) })
  const guest = fixture.client()
  failing.on = 'attest'
  t.equal((await guest.attest(snpGuest())).status, 500)
  failing.on = ''
  t.equal((await guest.attest(snpGuest())).status, 200)
  failing.on = 'resource'
  const answer = await guest.resource(ROOT_KEY)
  t.equal(answer.status, 500)
  t.equal(problemOf(answer).type, 'PluginInternalError')
  failing.on = ''
  t.strictSame(await guest.open(await guest.resource(ROOT_KEY)), SECRET, 'the same guest, once the log works')
  t.match(errors, [{ message: 'ENOSPC' }, { message: 'ENOSPC' }])
  await fixture.broker.close()
  t.match(log.records.at(-1), { refusals: { 'not-recorded': 2 } })
  seen.add('not-recorded')
})

t.test('internal-error: a store that fails is our business, and tells the client nothing', async (t) => {
  const errors: unknown[] = []
  const fixture = await brokerFixture({
    onError: (error) => errors.push(error),
    failingStore: new Error('/secret/path'),
  })
  const guest = fixture.client()
  await guest.attest(snpGuest())
  const answer = await guest.resource(ROOT_KEY)
  t.notMatch(answer.text, '/secret/path')
  t.match(errors, [{ message: '/secret/path' }])
  await refused(t, fixture, answer, 'internal-error', { status: 500, type: 'PluginInternalError' })
})

t.test('bad-path: a path that no resource has', async (t) => {
  const fixture = await brokerFixture()
  const answer = await fixture.client().send('GET', '/kbs/v0/resource/a/b')
  await refused(t, fixture, answer, 'bad-path', { status: 404, type: 'InvalidRequestPath' })
})

const BY_SOCKET = ['too-slow', 'headers-too-large']

t.test('every code has its test', (t) => {
  t.strictSame([...seen, ...BY_SOCKET].sort(), [...REFUSAL_CODES].sort())
  t.end()
})
