import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import {
  type AttestRecord,
  type AuditRecord,
  makeServerCertificate,
  type ResourceRecord,
} from '../../broker/index.ts'
import { Scope } from '../../system/scope.ts'
import type { EvidenceText } from '../events.ts'
import { judgedPage } from '../judged-page.ts'
import { BrokerLine } from './broker-line.ts'
import { attestationsOf, summarize } from './exchanges.ts'
import { interceptTls } from './interceptor.ts'
import { Relay } from './relay.ts'
import { filesWithSecret, placesAmong } from './secret-search.ts'
import { ShownEvidence } from './shown-evidence.ts'

const COMMON = { time: '2026-01-01T00:00:00.000Z', peer: 'local', teePubkey: '00', tee: 'snp' }

function attest(outcome: 'attested' | 'refused', codes: readonly string[], code?: string): AuditRecord {
  const findings = codes.map((each) => ({ code: each, message: 'in words', expected: '', got: '' }))
  const verdict = { policy: '00', resources: [], authentic: true, acceptable: codes.length === 0, findings }
  return {
    ...{ ...COMMON, event: 'attest', session: '00', evidence: { primary: '00' }, outcome },
    ...{ verdicts: [verdict], ...(code !== undefined && { code }) },
  }
}

function resource(outcome: 'released' | 'refused', code?: string): AuditRecord {
  return { ...COMMON, event: 'resource', resource: 'a/b/c', outcome, ...(code !== undefined && { code }) }
}

t.test('a release is told from a refusal, and a refusal has its findings, each once', async (t) => {
  const start: AuditRecord = { event: 'start', time: COMMON.time }
  t.strictSame(summarize([start, attest('attested', []), resource('released')]), {
    ...{ attested: 1, refused: 0, released: 1, codes: [] },
  })
  const denied = [
    attest('attested', ['pcr', 'launch-digest', 'pcr']),
    resource('refused', 'policy-denied'),
    attest('refused', ['revoked'], 'not-authentic'),
  ]
  t.strictSame(summarize(denied), {
    ...{ attested: 1, refused: 1, released: 0, codes: ['launch-digest', 'pcr', 'revoked'] },
  })
})

t.test('a refusal without a finding is named by its own code', async (t) => {
  t.strictSame(summarize([attest('refused', [], 'nonce-mismatch')]).codes, ['nonce-mismatch'])
  t.strictSame(summarize([resource('refused', 'policy-denied')]).codes, ['policy-denied'])
  const both = [attest('attested', ['debug']), resource('refused', 'no-resource')]
  t.strictSame(summarize(both).codes, ['debug', 'no-resource'])
})

t.test('evidence that got a resource is told from evidence that did not, by its session', async (t) => {
  const tpm = { ek: 'aa', ak: 'bb' }
  const root = { state: 'partial' } as const
  const about = { tpm, root, session: '1', evidence: { primary: '11' } }
  const first = { ...attest('attested', []), ...about } as AuditRecord
  const second = {
    ...attest('attested', ['debug']),
    session: '2',
    evidence: { primary: '22' },
  } as AuditRecord
  const given = { ...resource('released'), session: '1' } as ResourceRecord
  const withheld = { ...resource('refused', 'policy-denied'), session: '2' } as AuditRecord
  t.strictSame(attestationsOf([first, given, second, withheld]), [
    { ...{ evidence: '11', vtpm: tpm, root, findings: [] }, released: true, resources: [given.resource] },
    {
      ...{ evidence: '22', vtpm: undefined, root: undefined, findings: ['in words'] },
      ...{ released: false, resources: [] },
    },
  ])
})

async function say(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port })
  const heard: Buffer[] = []
  socket.on('data', (chunk) => heard.push(chunk))
  const over = new Promise<void>((resolve) => {
    socket.on('close', () => resolve())
    socket.on('error', () => resolve())
  })
  socket.end(text)
  await over
  return Buffer.concat(heard).toString()
}

async function answering(scope: Scope, answer: string): Promise<number> {
  const server = createServer(
    (socket) => void socket.on('data', () => {}).on('end', () => socket.end(answer)),
  )
  scope.defer('server', () => new Promise<void>((resolve) => server.close(() => resolve())))
  return listening(server)
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

t.test('a line leads where it was last told to, at one and the same port, and is counted', async (t) => {
  await using scope = new Scope('test')
  const line = await BrokerLine.open(scope)
  t.equal(await say(line.hostPort, 'x'), '', 'nowhere at first')
  line.leadTo(await answering(scope, 'broker'))
  t.equal(await say(line.hostPort, 'x'), 'broker')
  line.leadTo(await answering(scope, 'another'))
  t.equal(await say(line.hostPort, 'x'), 'another')
  line.leadTo(undefined)
  t.equal(await say(line.hostPort, 'x'), '')
  t.equal(line.arrivals.length, 4)
})

t.test('a relay has a TLS key of its own, passes on what it hears, and knows who came', async (t) => {
  await using scope = new Scope('test')
  const { certificatePem: cert, keyPem: key } = await makeServerCertificate({
    ...{ names: ['127.0.0.1'], now: new Date() },
  })
  const broker = createTlsServer({ cert, key }, (socket) => socket.on('data', () => socket.end('broker')))
  scope.defer('broker', () => new Promise<void>((resolve) => broker.close(() => resolve())))
  const port = await listening(broker)
  const own = await makeServerCertificate({ names: ['127.0.0.1'], now: new Date() })
  const identity = { certificatePem: own.certificatePem, privateKeyPem: own.keyPem, pin: 'sha256:QUFB' }
  const relay = await Relay.open(scope, { identity, broker: () => port })
  t.equal(relay.commandLine, 'attestbed.broker=https://10.0.2.101:8443 attestbed.broker-pin=sha256:QUFB')
  t.equal(relay.arrivals, 0)
  const guest = connectTls({ host: '127.0.0.1', port: relay.network.relayPort, rejectUnauthorized: false })
  await once(guest, 'secureConnect')
  t.equal(String(guest.getPeerX509Certificate()).trim(), own.certificatePem.trim())
  guest.write('x')
  const [answer] = await once(guest, 'data')
  t.equal(String(answer), 'broker')
  t.strictSame([relay.arrivals, relay.requests], [1, 1])
})

t.test('who waits for guests to connect hears of it, or that none did', async (t) => {
  await using scope = new Scope('test')
  const line = await BrokerLine.open(scope)
  const second = line.arrived(2, { deadlineMs: 60_000 })
  await say(line.hostPort, 'x')
  await say(line.hostPort, 'x')
  t.ok(await second)
  const [one = 0, other = 0] = line.arrivals
  t.ok(one <= other, 'by a clock that does not go back')
  t.ok(await line.arrived(2, { deadlineMs: 0 }), 'at once')
  t.notOk(await line.arrived(3, { deadlineMs: 1 }))
})

t.test(
  'a line to a port where nobody listens is cut, and so is one that is open when the scope closes',
  async (t) => {
    const scope = new Scope('test')
    const line = await BrokerLine.open(scope)
    const gone = await closedPort()
    line.leadTo(gone)
    t.equal(await say(line.hostPort, 'x'), '')
    const held = createServer()
    const sockets: Socket[] = []
    held.on('connection', (socket) => sockets.push(socket.on('error', () => {})))
    line.leadTo(await listening(held))
    const open = say(line.hostPort, 'x')
    await new Promise<void>((resolve) => void held.once('connection', () => resolve()))
    await scope.close()
    t.equal(await open, '')
    for (const socket of sockets) socket.destroy()
    held.close()
  },
)

async function closedPort(): Promise<number> {
  await using scope = new Scope('inner')
  return await answering(scope, '')
}

t.test(
  'who does not look at the certificate is overheard by a man in the middle; who does, is not',
  async (t) => {
    const { certificatePem: cert, keyPem: key } = await makeServerCertificate({
      ...{ names: ['127.0.0.1'], now: new Date() },
    })
    const broker = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.end('the answer'))
    })
    const port = await listening(broker)
    const between = await interceptTls(() => port)
    t.match(await ask(between.port, { ca: cert }), /self-signed|unable to verify|certificate/i)
    t.strictSame([between.connections, between.requests], [1, 0])
    t.equal(await ask(between.port, { rejectUnauthorized: false }), 'the answer')
    t.equal(between.requests, 1)
    t.equal(await ask(port, { ca: cert }), 'the answer', 'control: the broker itself is taken')
    await between[Symbol.asyncDispose]()
    broker.close()
  },
)

function ask(
  port: number,
  trust: { readonly ca?: string; readonly rejectUnauthorized?: boolean },
): Promise<string> {
  return new Promise((resolve) => {
    let heard = ''
    const socket = connectTls({ host: '127.0.0.1', port, ...trust }, () => socket.write('a question'))
    socket.on('data', (chunk) => {
      heard += chunk.toString()
    })
    socket.on('error', (error) => resolve(error.message))
    socket.on('close', () => resolve(heard))
  })
}

t.test(
  'a secret is found in any file below, as text, in hex, and in base64 wherever it begins',
  async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-search-'))
    try {
      await mkdir(join(directory, 'a/b'), { recursive: true })
      const secret = 'hbgctjnr-uvefdlki'
      const files = {
        'a/text': `x${secret}y`,
        'a/b/hex': Buffer.from(secret).toString('hex'),
        'upper-case': Buffer.from(secret).toString('hex').toUpperCase(),
        'vtpm.log': dumpedAt(0, secret),
        'vtpm-2.log': dumpedAt(13, secret),
        'late.log': `${' 00'.repeat(349_524)}${dumpedAt(5, secret)}`,
        'base64-0': Buffer.from(`${secret}!`).toString('base64'),
        'base64-1': Buffer.from(`{${secret}}`).toString('base64'),
        'base64-2': Buffer.from(`{"${secret}"}`).toString('base64url'),
      }
      for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
      await writeFile(join(directory, 'other'), secret.slice(1))
      t.strictSame(await filesWithSecret(directory, secret), Object.keys(files).sort())
      t.strictSame(await filesWithSecret(directory, 'hbgctjnr-vvefdlki'), [])
    } finally {
      await rm(directory, { recursive: true })
    }
  },
)

t.test('what a search found is told by the kind of its place, and other files are of none', async (t) => {
  const files = [
    'events.jsonl',
    'owner/disk.qcow2',
    'twin/disk.qcow2',
    'owner/boot-2/console.raw',
    'impostor-audit.jsonl',
  ]
  t.strictSame(placesAmong(files), ['console', 'disk', 'record'])
  t.strictSame(placesAmong(['broker-audit.jsonl', 'a/vtpm.log', 'a/console.sent']), ['broker', 'vtpm'])
  t.strictSame(placesAmong([]), [])
})

/** As swtpm logs what it is told: 16 bytes a line, upper case; `before`: bytes that stand in front. */
function dumpedAt(before: number, secret: string): string {
  const bytes = Buffer.concat([Buffer.alloc(before, 1), Buffer.from(secret), Buffer.alloc(3)])
  const lines: string[] = [' SWTPM_IO_Read: length 1']
  for (let at = 0; at < bytes.length; at += 16) {
    const line = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, '0'))
    lines.push(` ${line.join(' ').toUpperCase()} `)
  }
  return `${lines.join('\n')}\n`
}

t.test('the search for a secret misses no base64 of it, whatever stands around', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-search-'))
  const bytes = fc.uint8Array({ maxLength: 40 })
  try {
    await fc.assert(
      fc.asyncProperty(bytes, bytes, async (before, after) => {
        const secret = 'cbdefghi-jklnrtuv'
        const text = Buffer.concat([before, Buffer.from(secret), after]).toString('base64')
        await writeFile(join(directory, 'file'), text)
        t.strictSame(await filesWithSecret(directory, secret), ['file'])
      }),
      { numRuns: 60 },
    )
  } finally {
    await rm(directory, { recursive: true })
  }
})

t.test('what a broker was shown is in the record of the run, with what it made of it', async (t) => {
  const pages: EvidenceText[] = []
  const shown = new ShownEvidence((page) => pages.push(page))
  const record = attest('attested', ['launch-digest']) as AttestRecord
  const of = (primary: string): AttestRecord => ({ ...record, evidence: { primary } })
  shown.keep('11', '{"attestation_report":"AAAA"}')
  await shown.decided(of('22'))
  t.match(pages.at(-1), { title: /^evidence of snp: authentic, not acceptable$/, vouchedBy: [] })
  t.match(pages.at(-1)?.says, [{ rows: [{ value: /not acceptable/ }, { label: 'launch-digest' }] }])
  await shown.decided({ ...of('33'), verdicts: [], outcome: 'refused', code: 'malformed-request' })
  t.match(pages.at(-1), { title: /not looked at/, says: [{ rows: [{ value: 'malformed-request' }] }] })
  await shown.decided(of('11'))
  t.match(pages.at(-1), { title: /^evidence that cannot be read/ }, 'named all the same')
  t.equal(pages.length, 3)
})

t.test('a finding in the record is cut, and drives no terminal', async (t) => {
  const finding = { code: 'x', message: '\x1b[2J', expected: 'e'.repeat(5000), got: '\u202e' }
  const page = { title: 'p', says: [], vouchedBy: [] }
  const findings = Array.from({ length: 100 }, () => finding)
  const judged = judgedPage(page, { authentic: false, acceptable: false, findings }, 'by a test')
  t.equal(judged.title, 'p: not authentic')
  const { rows = [] } = judged.says[0] ?? {}
  t.equal(rows.length, 66, 'the verdict, the findings that are shown, and that there are more')
  t.match(rows.at(-1), { value: '36 more findings' })
  const shown = { authentic: false, acceptable: false, findings: findings.slice(0, 64) }
  t.match(judgedPage(page, shown, 'by a test').says[0]?.rows.at(-1), { label: 'x' }, 'nothing is left out')
  t.notMatch(JSON.stringify(judged), /[\p{Cc}\p{Cf}]/u)
  t.ok((judged.says[0]?.rows[1]?.note?.length ?? 0) < 1100)
})
