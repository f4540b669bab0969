/** A client of an attested TLS service, against services that lie to it in one point each. */
import { randomBytes, X509Certificate } from 'node:crypto'
import { createServer, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { AppraiseError } from '../../base/errors.ts'
import { makeSnpProcessor } from '../../platforms/emulated/snp-processor.ts'
import { ask, attestedConnection, wholeAnswer } from './attested-connection.ts'
import { certificateOf, useService, useServiceUnbound } from './attested-service.ts'
import { freshTlsIdentity, interceptTls, type TlsIdentity } from './interceptor.ts'
import { parseTlsAttestation, tlsReportData } from './tls-attestation.ts'

const NOW = new Date()
const processor = makeSnpProcessor({ now: NOW })
const launch = { digest: randomBytes(48), basis: 'rehearsed', fields: { POLICY: '0x30000' } } as const
const { certificates, crls, collateral, simulatedRoot } = processor.endorsements()
const policy = {
  snp: { launchDigests: [launch.digest.toString('hex')], chipIds: [processor.chip] },
  simulatedRoots: [simulatedRoot],
}
const demand = { policy, certificates, crls, collateral }
const GREETED = { accepted: true, findings: [], greeting: 'greetings' }

interface Service {
  readonly identity?: TlsIdentity
  /** In place of the digest of the guest that the policy knows. */
  readonly digest?: Uint8Array
  /** The nonce that its evidence is about, whatever the client says. */
  readonly nonce?: Uint8Array
  /** The key that its evidence is about, and that it names. */
  readonly key?: Uint8Array
  /** In place of every answer. */
  readonly raw?: string | Uint8Array
}

function publicKeyOf({ certificatePem }: TlsIdentity): Buffer {
  return new X509Certificate(certificatePem).publicKey.export({ type: 'spki', format: 'der' })
}

function answerTo(path: string, service: Service, ownKey: Buffer): string {
  if (path === '/greeting') return 'greetings'
  const publicKey = service.key ?? ownKey
  const nonce = service.nonce ?? Buffer.from(path.slice('/attestation/'.length), 'hex')
  const { outblob, auxblob } = processor.answer({
    reportData: tlsReportData(nonce, publicKey),
    launch: { ...launch, digest: service.digest ?? launch.digest },
    ...{ registers: [], faults: new Set() },
  })
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  return JSON.stringify({
    ...{ tee: 'snp', publicKey: text(publicKey), outblob: text(outblob), auxblob: text(auxblob) },
  })
}

/** Its address; it is gone after the test. */
async function serve(t: Test, service: Service = {}) {
  const identity = service.identity ?? (await freshTlsIdentity())
  const key = publicKeyOf(identity)
  const sockets = new Set<TLSSocket>()
  const server = createServer({ cert: identity.certificatePem, key: identity.keyPem }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('data', (request: Buffer) => {
      if (service.raw !== undefined) return void socket.end(service.raw)
      const [, path = ''] = request.toString().split(' ')
      const body = answerTo(path, service, key)
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    })
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  return { host: '127.0.0.1', port: typeof address === 'object' && address ? address.port : 0 }
}

const refused = (...findings: readonly string[]) => ({ accepted: false, findings, greeting: '' })

t.test('a service with evidence for the key of its session is spoken to, in that session', async (t) => {
  const { socket, verdict } = await attestedConnection(await serve(t), { ...demand, at: NOW })
  t.equal(verdict.authentic && verdict.acceptable, true)
  t.equal((await ask(socket, '/greeting')).toString(), 'greetings')
  t.equal((await ask(socket, '/greeting')).toString(), 'greetings', 'and again')
  socket.destroy()
})

t.test('each lie is refused for its own reason', async (t) => {
  const outcome = async (service: Service) => useService(await serve(t, service), demand)
  t.strictSame(await outcome({}), GREETED)
  t.strictSame(await outcome({ digest: randomBytes(48) }), refused('launch-digest'))
  t.strictSame(await outcome({ nonce: randomBytes(32) }), refused('report-data'))
  const other = publicKeyOf(await freshTlsIdentity())
  t.strictSame(await outcome({ key: other }), refused('report-data'))
})

t.test('one between client and guest is told by the key of the session alone', async (t) => {
  const identity = await freshTlsIdentity()
  const genuine = await serve(t, { identity })
  await using between = await interceptTls(() => genuine.port)
  const there = { ...genuine, port: between.port }
  t.not(await certificateOf(there), await certificateOf(genuine))
  t.strictSame(await useService(there, demand), refused('report-data'))
  t.strictSame(await useServiceUnbound(there, demand), GREETED, 'who does not compare keys is deceived')
  await using holder = await interceptTls(() => genuine.port, identity)
  const held = { ...genuine, port: holder.port }
  t.strictSame(await useService(held, demand), GREETED, 'all rests on the private key')
})

t.test('under a policy that names no simulated root nothing is believed', async (t) => {
  const { snp } = policy
  t.match(await useService(await serve(t), { ...demand, policy: { snp } }), { accepted: false })
})

t.test('what is no answer ends the connection with an error, and is no refusal', async (t) => {
  const head = (length: number | string) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`
  const cases: readonly (readonly [string, string | Uint8Array])[] = [
    ['bad-value', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'],
    ['bad-value', head(300_000)],
    ['bad-value', head('1e3')],
    ['bad-value', 'HTTP/1.1 200 OK\r\n\r\n{}'],
    ['bad-value', `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}`],
    ['bad-value', `${head(2)}{}more`],
    ['bad-value', 'x'.repeat(5000)],
    ['bad-value', `${head(2)}{}`],
    ['bad-value', `${head(21)}{"tee":"a","tee":"b"}`],
    ['truncated', `${head(20)}{}`],
    ['truncated', ''],
  ]
  for (const [code, raw] of cases)
    await t.rejects(
      attestedConnection(await serve(t, { raw }), { ...demand, at: NOW }),
      { code },
      String(raw),
    )
})

t.test('an answer is whole at its last byte and at no byte before', async (t) => {
  const whole = Buffer.from('HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 5\r\n\r\nhello')
  for (let length = 0; length < whole.length; length++)
    t.equal(wholeAnswer(whole.subarray(0, length)), undefined)
  t.equal(wholeAnswer(whole)?.toString(), 'hello')
})

t.test('REPORT_DATA is the digest that sha512sum makes of label, nonce and key', async (t) => {
  // { printf 'attestbed TLS key 1\n'; head -c 32 /dev/zero; printf key; } | sha512sum
  t.equal(
    tlsReportData(Buffer.alloc(32), Buffer.from('key')).toString('hex'),
    'c4b268f24115f905768fa23e6666d7b527c50387dd37078743c092b179bdacfc' +
      '6a41cb78be525ccfae84db5c0492b4159c30c5447a2d7154f5fcb8d0ebbf7a89',
  )
})

t.test('an answer with another member, or a member that is no base64, is refused', async (t) => {
  const good = { tee: 'snp', publicKey: 'AA==', outblob: 'AAAA', auxblob: '' }
  t.equal(parseTlsAttestation(Buffer.from(JSON.stringify(good))).outblob.length, 3)
  for (const bad of [{ ...good, more: 1 }, { ...good, tee: 'sgx' }, { ...good, outblob: 'A-_' }, [], null])
    t.throws(() => parseTlsAttestation(Buffer.from(JSON.stringify(bad))), { code: 'bad-value' })
})

t.test('a refusal carries every finding', async (t) => {
  const service = await serve(t, { digest: randomBytes(48), nonce: randomBytes(32) })
  const error: unknown = await attestedConnection(service, { ...demand, at: NOW }).catch((cause) => cause)
  t.ok(error instanceof AppraiseError)
  if (error instanceof AppraiseError)
    t.strictSame(error.findings.map(({ code }) => code).sort(), ['launch-digest', 'report-data'])
})
