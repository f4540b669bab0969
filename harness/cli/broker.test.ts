import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { readChain } from '../broker/audit/chain.ts'
import { openAuditLog } from '../broker/audit/file-log.ts'
import { makeServerCertificate } from '../broker/server-certificate.ts'
import { snpGuest, snpRelease } from '../broker/testing/emulated-guests.ts'
import { type Answer, RcarClient } from '../broker/testing/rcar-client.ts'
import { listResources, makeKey, putResource, removeResource, serveBroker, showAudit } from './broker.ts'

t.setTimeout(120_000)

const MAIN = join(import.meta.dirname, 'main.ts')
const PATH = 'default/key/root'
const SECRET = 'the key of the root, 0123456789'

/** A configuration with a key, a policy and one resource. */
async function configured(
  t: Test,
): Promise<{ readonly directory: string; readonly config: string; readonly log: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-broker-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const config = join(directory, 'broker.yaml')
  // JSON is YAML.
  await writeFile(join(directory, 'guest.yaml'), JSON.stringify(snpRelease().policy))
  await writeFile(config, CONFIG)
  await writeFile(join(directory, 'root.key'), SECRET)
  t.equal(await makeKey(join(directory, 'store.key')), 0)
  t.equal(await putResource(PATH, join(directory, 'root.key'), { config }), 0)
  return { directory, config, log: join(directory, 'audit.jsonl') }
}

const CONFIG = `listen: {port: 0}
store: {directory: store, key: store.key}
audit: {log: audit.jsonl, evidence: evidence}
resources:
  - {path: ${PATH}, policy: guest.yaml}
`

interface Served {
  readonly child: ChildProcess
  readonly port: number
  readonly certificatePem: string
  readonly stderr: () => string
}

async function served(t: Test, config: string): Promise<Served> {
  const child = spawn(
    process.execPath,
    [MAIN, 'broker', 'serve', '--config', config, '--self-signed', 'localhost'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  t.teardown(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr.on('data', (piece) => (stderr += piece))
  const [line] = (await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error(`serve ended: ${stderr}`))),
  ])) as [Buffer]
  const certificatePem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(stderr)?.[0] ?? ''
  return { child, port: Number(new URL(`${line}`.trim()).port), certificatePem, stderr: () => stderr }
}

/** What a command says, run in this process: starting another takes a second. */
async function said(command: (write: (text: string) => void) => Promise<number>): Promise<string> {
  let text = ''
  const code = await command((piece) => {
    text += piece
  })
  return `${text}exit ${code}`
}

t.test('a broker from its configuration: a resource, a guest, the log, and an orderly end', async (t) => {
  const { config, directory, log } = await configured(t)
  t.equal(await said((write) => listResources({ config }, write)), `${PATH}\nexit 0`)
  const server = await served(t, config)
  const guest = new RcarClient(server)
  t.teardown(() => guest.close())
  const { status, text } = await guest.attest(snpGuest())
  t.equal(status, 200, text.slice(0, 200))
  t.equal(`${await guest.open(await guest.resource(PATH))}`, SECRET)
  server.child.kill('SIGTERM')
  const [code] = (await once(server.child, 'exit')) as [number]
  t.equal(code, 0)
  t.match(server.stderr(), /SIGTERM: answering what was accepted/)
  t.notOk(server.stderr().includes(SECRET))
  const whole = await readFile(log, 'utf8')
  for (const secret of [
    SECRET,
    Buffer.from(SECRET).toString('base64'),
    guest.cookie ?? '',
    guest.token ?? '',
  ])
    t.notOk(whole.includes(secret), 'no secret, cookie or token in the log')
  t.ok(
    whole.includes(sha256Hex(guest.cookie ?? '')),
    'control: the same search finds the digest of the cookie',
  )
  const attest = JSON.parse(whole.split('\n')[1] ?? '') as { evidence: { primary: string } }
  const kept = await readFile(join(directory, 'evidence', `${attest.evidence.primary}.json`), 'utf8')
  t.equal(sha256Hex(kept), attest.evidence.primary)
  t.equal(await removeResource(PATH, { config }), 0)
  await t.rejects(removeResource(PATH, { config }), /no resource/)
})

t.test('a log is shown line by line, escaped, and only as far as it is whole', async (t) => {
  const { log } = await configured(t)
  await using file = await openAuditLog(log)
  await file.append({ event: 'start', time: '2026-01-01T00:00:00.000Z' })
  const hostile = {
    peer: '\u001b[31mroot\u0007',
    session: 's',
    tee: 'snp',
    teePubkey: 'k',
    evidence: { primary: 'p' },
  }
  const findings = [{ code: 'launch-digest', message: 'm', expected: 'e', got: 'g' }]
  await file.append({
    ...{
      event: 'attest',
      time: '2026-01-01T00:00:01.000Z',
      ...hostile,
      outcome: 'refused',
      code: 'not-authentic',
    },
    verdicts: [{ policy: 'p', resources: [PATH], authentic: false, acceptable: false, findings }],
  })
  const page = await said((write) => showAudit(log, {}, write))
  const control = '\u001b'
  t.notOk(page.includes(control))
  t.match(
    page,
    /^1 2026-[^ ]+ start \{\}\n2 [^ ]+ attest refused not-authentic findings=launch-digest .*\n2 records, whole; head [0-9a-f]{64}\nexit 0$/,
  )
  const [, head = ''] = /head ([0-9a-f]{64})/.exec(page) ?? []
  t.match(await said((write) => showAudit(log, { head, json: true }, write)), `"head": "${head}"`)
  const whole = await readFile(log, 'utf8')
  await writeFile(log, `${whole.split('\n')[0]}\n`)
  t.match(await said((write) => showAudit(log, {}, write)), '1 records, whole', 'a cut-off tail shows only')
  await t.rejects(
    said((write) => showAudit(log, { head }, write)),
    /cut off/,
    'to whom knows the head',
  )
  await writeFile(log, whole.replace('start', 'stop!'))
  await t.rejects(
    said((write) => showAudit(log, {}, write)),
    /cannot verify the audit log/,
  )
  await t.rejects(
    said((write) => showAudit(`${log}.none`, {}, write)),
    { code: 'bad-value' } as never,
  )
})

t.test('whatever was answered before a SIGKILL is in the log after the next start', async (t) => {
  const { config, log } = await configured(t)
  const answered = new Set<string>()
  const rounds = 3
  for (let round = 0; round < rounds; round++) {
    const server = await served(t, config)
    const before = answered.size
    // Somewhere within the exchanges of the clients: how many answers come before it is different each time.
    const goal = before + 3 + Math.floor(Math.random() * 12)
    const clients = Array.from({ length: 6 }, () =>
      exchangeUntilKilled(server, answered, () => answered.size >= goal),
    )
    await Promise.all(clients)
    if (server.child.exitCode === null && server.child.signalCode === null) await once(server.child, 'exit')
    t.equal(server.child.signalCode, 'SIGKILL')
    t.ok(answered.size > before)
  }
  // The next start, whatever the last one left behind.
  const next = await openAuditLog(log)
  await next.append({ event: 'start', time: new Date().toISOString() })
  await next.close()
  const kept = new Set<string>()
  await readChain(log, ({ event, outcome, session }) => {
    kept.add(`${event} ${outcome} ${session}`)
  })
  t.strictSame(
    [...answered].filter((answer) => !kept.has(answer)),
    [],
    `${answered.size} answers, none forgotten`,
  )
})

/** Whoever reaches the goal kills the server in the middle of what the others are doing. */
async function exchangeUntilKilled(
  server: Served,
  answered: Set<string>,
  reached: () => boolean,
): Promise<void> {
  for (;;) {
    const guest = new RcarClient(server)
    try {
      const attested = await guest.attest(snpGuest())
      const session = sha256Hex(guest.cookie ?? '')
      if (attested.status !== 200) throw new Error(attested.text)
      answered.add(`attest attested ${session}`)
      const answer: Answer = await guest.resource(PATH)
      if (answer.status !== 200) throw new Error(answer.text)
      answered.add(`resource released ${session}`)
      // Evidence for a session that has none any more is refused, and that is recorded, too.
      const refused = await guest.post('/kbs/v0/attest', guest.attestation('bm9uZQ==', snpGuest()))
      if (refused.status === 401) answered.add(`attest refused ${session}`)
      if (reached()) server.child.kill('SIGKILL')
    } catch {
      // The server is gone.
      return
    } finally {
      guest.close()
    }
  }
}

const WRONG: readonly (readonly [string, string, RegExp])[] = [
  ['an unknown key', CONFIG.replace('listen', 'listens'), /broker[.]yaml:1:1: .*listens/],
  ['a path with tricks', CONFIG.replace(PATH, '../x/y'), /broker[.]yaml:5:12: /],
  [
    'a resource named twice',
    `${CONFIG}  - {path: ${PATH}, policy: guest.yaml}\n`,
    /broker[.]yaml:6:12: .*named twice/,
  ],
  ['a port that is none', CONFIG.replace('port: 0', 'port: 70000'), /broker[.]yaml:1:16: /],
  ['a limit of nothing', `${CONFIG}limits: {attestBytes: 0}\n`, /broker[.]yaml:6:23: /],
  ['no resource', `${CONFIG.split('resources:')[0]}resources: []\n`, /broker[.]yaml:4:12: /],
  ['no policy file', CONFIG.replace('guest.yaml', 'none.yaml'), /none[.]yaml/],
  ['a policy that binds', CONFIG.replace('guest.yaml', 'binds.yaml'), /the broker binds them/],
]

t.test('a configuration that is wrong is refused at its place, and nothing is served', async (t) => {
  const { config, directory } = await configured(t)
  const bound = { snp: { reportData: { value: '00' } } }
  await writeFile(join(directory, 'binds.yaml'), JSON.stringify(bound))
  for (const [name, text, message] of WRONG) {
    await writeFile(config, text)
    await t.rejects(
      serveBroker({ config, selfSigned: ['localhost'] }),
      { name: 'UsageError', message } as never,
      name,
    )
  }
  await writeFile(config, CONFIG)
  await t.rejects(serveBroker({ config }), /names no certificate/)
  t.strictSame(await readdir(directory).then((names) => names.filter((name) => name === 'evidence')), [])
})

t.test('files of TLS that are none, or not of one another, are named', async (t) => {
  const { directory, config } = await configured(t)
  const make = () => makeServerCertificate({ names: ['localhost'], now: new Date() })
  const [{ certificatePem, keyPem }, other] = [await make(), await make()]
  await writeFile(config, `${CONFIG}tls: {certificate: tls.pem, key: tls.key}\n`)
  const cases = [
    ['no certificate', 'nonsense', keyPem, /tls[.]pem holds no certificate/],
    ['a broken one', certificatePem.replace('MII', 'MIX'), keyPem, /tls[.]pem holds no certificate/],
    ['no key', certificatePem, 'nonsense', /tls[.]key holds no private key in PEM/],
    ['the key of another', certificatePem, other.keyPem, /tls[.]pem is not of the key in .*tls[.]key/],
  ] as const
  for (const [name, certificate, key, message] of cases) {
    await writeFile(join(directory, 'tls.pem'), certificate)
    await writeFile(join(directory, 'tls.key'), key, { mode: 0o600 })
    await t.rejects(
      serveBroker({ config }),
      { name: 'UsageError', code: 'bad-config', message } as never,
      name,
    )
  }
})

t.test('a key of the server or of tokens that others may read is not used', async (t) => {
  const { directory, config } = await configured(t)
  const { certificatePem, keyPem } = await makeServerCertificate({ names: ['localhost'], now: new Date() })
  await writeFile(join(directory, 'tls.pem'), certificatePem)
  await writeFile(join(directory, 'tls.key'), keyPem)
  const more = { server: 'tls: {certificate: tls.pem, key: tls.key}', tokens: 'tokens: {key: tls.key}' }
  for (const [name, line] of Object.entries(more)) {
    await writeFile(config, `${CONFIG}${line}\n`)
    await chmod(join(directory, 'tls.key'), 0o640)
    await t.rejects(serveBroker({ config }), { code: 'bad-config', message: /has mode 0640/ }, name)
  }
})
