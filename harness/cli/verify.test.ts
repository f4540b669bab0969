/** The commands about evidence as a user runs them, on evidence of emulated platforms and a key service on loopback. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { vector, vectorNames, vectorsMissing } from '../base/testing/vectors.ts'
import { boundedFetch, serviceAddress } from '../evidence/collect/bounded-fetch.ts'
import { hclRequest } from '../evidence/testing/hcl-report.ts'
import { ukiBoot } from '../evidence/testing/measured-boot.ts'
import { makeCrl } from '../evidence/testing/pki.ts'
import { SnpSignerEmulation } from '../evidence/testing/snp-signer.ts'
import { parseCertificate } from '../formats/x509.ts'

// Programs and a bundler on a busy machine.
t.setTimeout(120_000)

const MAIN = join(import.meta.dirname, 'main.ts')
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/attestbed/node')
const AT = ['--at', '2026-01-01T00:00:00Z']

const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
t.teardown(() => rm(directory, { recursive: true }))
const path = (name: string): string => join(directory, name)

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** In a cache of the test's own. */
async function cli(args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const env = {
    ...process.env,
    NO_COLOR: '1',
    NODE_COMPILE_CACHE: COMPILE_CACHE,
    ATTESTBED_CACHE: path('cache'),
    ...more,
  }
  const child = spawn(process.execPath, [MAIN, ...args], { env })
  const collected = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (collected.stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (collected.stderr += chunk))
  child.stdin.end()
  const [code] = await once(child, 'close')
  return { code, ...collected }
}

const emulation = new SnpSignerEmulation()
const { root, intermediate, leaf } = emulation.certificates
const report = emulation.report({ measurement: Buffer.alloc(48, 0xab) })
await Promise.all([
  writeFile(path('report.bin'), report),
  writeFile(path('short.bin'), report.subarray(0, 1183)),
  writeFile(path('chain.bin'), emulation.certificateTable()),
  writeFile(path('good.yaml'), policy(`"${'ab'.repeat(48)}"`)),
  writeFile(path('other.yaml'), policy(`"${'cd'.repeat(48)}"`)),
  writeFile(path('wrong.yaml'), 'snp:\n  launchDigest: ["00"]\n'),
  writeFile(path('empty.yaml'), '{}\n'),
])

function policy(digest: string): string {
  return `simulatedRoots: ["${emulation.root.keyId}"]\nsnp: { launchDigests: [${digest}] }\n`
}

const verify = (...args: readonly string[]) => cli(['verify', ...args, ...AT])
const given = [path('report.bin'), '--certs', path('chain.bin'), '--policy']

t.test('an HCL report, its quote and the log are one run, held against one policy', async (t) => {
  const { evidence, certificates, quotes, eventLog, policy } = hclRequest({
    events: ukiBoot('pcr'),
    policy: {
      ...{ snp: { vmpls: [0] }, tpm: { clockSafe: 'required' }, eventLog: { secureBoot: 'on' } },
      hcl: { vmConfiguration: { 'secure-boot': true } },
    },
  })
  const files = {
    hcl: evidence,
    quote: quotes[0],
    log: eventLog,
    root: certificates[0],
    ask: certificates[1],
  }
  for (const [name, bytes] of Object.entries({ ...files, vcek: certificates[2] }))
    await writeFile(path(`whole-${name}`), bytes ?? '')
  await writeFile(path('whole.yaml'), JSON.stringify(policy))
  const [hcl = '', quote = '', log = '', ...certs] = ['hcl', 'quote', 'log', 'root', 'ask', 'vcek'].map(
    (name) => path(`whole-${name}`),
  )
  const common = [hcl, '--certs', ...certs, '--quote', quote, '--policy', path('whole.yaml'), '--json']
  const [whole, part] = await Promise.all([verify(...common, '--event-log', log), verify(...common)])
  t.match(whole, { code: 0, stdout: /"kind": "hcl-report"/ }, whole.stderr)
  t.match(part, { code: 6, stdout: /"evidence-missing"/ }, part.stderr)
})

t.test('the exit code says whether evidence is authentic and acceptable', async (t) => {
  const [good, other, unnamed, short] = await Promise.all([
    verify(...given, path('good.yaml')),
    verify(...given, path('other.yaml')),
    verify(path('report.bin'), '--certs', path('chain.bin')),
    verify(path('short.bin')),
  ])
  t.match(good, { code: 0, stderr: '' })
  t.match(good.stdout, /^SNP report, version 3, of a Milan\n/)
  t.match(good.stdout, /What vouches for it\n {2}[+] a VCEK for Milan\S* signed the report\n/)
  t.match(good.stdout, /\(SIMULATED\)/)
  t.match(good.stdout, /authentic and acceptable, held against .*good[.]yaml, at\n?\s*2026-01-01/)
  t.match(other, { code: 6, stderr: '' })
  t.match(other.stdout, /What is wrong\n {2}- \[launch-digest\] [^[]*\n {4}expected cdcd/)
  t.match(other.stdout, 'authentic, NOT ACCEPTABLE (1 finding)')
  t.match(unnamed, { code: 5, stdout: '[unknown-root]' })
  t.match(unnamed.stdout, 'NOT AUTHENTIC: nothing that it says is to be believed')
  t.match(short, { code: 5, stdout: '[truncated]' })
})

t.test('--json is one document with the same verdict', async (t) => {
  const { code, stdout } = await verify(...given, path('other.yaml'), '--json')
  t.equal(code, 6)
  const document = JSON.parse(stdout)
  t.same(Object.keys(document), ['kind', 'fields', 'authentic', 'acceptable', 'findings'])
  t.match(document, {
    kind: 'snp-report',
    fields: { version: 3, measurement: 'ab'.repeat(48), product: 'milan' },
    ...{ authentic: true, acceptable: false },
    findings: [{ code: 'launch-digest', message: String, expected: 'cd'.repeat(48), got: 'ab'.repeat(48) }],
  })
  const malformed = await verify(path('short.bin'), '--json')
  t.match(JSON.parse(malformed.stdout), {
    kind: 'snp-report',
    fields: {},
    authentic: false,
    acceptable: false,
  })
})

t.test(
  'what a person can do about a finding stands beside it, on the page and in the document',
  async (t) => {
    await writeFile(path('unknown.bin'), Buffer.alloc(100, 0xee))
    const hint = 'name it with --kind'
    const [page, document] = await Promise.all([
      verify(path('unknown.bin')),
      verify(path('unknown.bin'), '--json'),
    ])
    t.match(page.stdout, `\n    hint     ${hint}\n`)
    t.match(JSON.parse(document.stdout), { findings: [{ code: 'bad-magic', hint }] })
    const without = await verify(path('report.bin'), '--certs', path('chain.bin'), '--json')
    t.notMatch(without.stdout, '"hint"', 'and only where there is something')
  },
)

t.test('inspect decodes and believes nothing', async (t) => {
  const [page, json, short] = await Promise.all([
    cli(['inspect', path('report.bin')]),
    cli(['inspect', path('report.bin'), '--json']),
    cli(['inspect', path('short.bin')]),
  ])
  t.match(page, { code: 0, stdout: /launch digest +(ab)+\n/ })
  t.notMatch(page.stdout, /authentic|vouches/)
  t.match(JSON.parse(json.stdout), { kind: 'snp-report', fields: { vmpl: 0 } })
  t.match(short, { code: 5, stdout: '', stderr: /FormatError \[truncated\].* SNP report/ })
})

t.test('wrong usage is exit 2 and says where', async (t) => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[path('none.bin')], /UsageError \[bad-value\]: cannot read .*none[.]bin: ENOENT/],
    [[path('report.bin'), '--nonce', 'xyz'], /"xyz" is no hex of 1 to 64 bytes/],
    [[path('report.bin'), '--at', 'yesterday'], /"yesterday" is no time like/],
    [[path('report.bin'), '--at', '2026-01-01T00:00:00'], /is no time like/],
    [[path('report.bin'), '--kind', 'snp'], /snp-report, tdx-quote/],
    [[path('report.bin'), '--polcy', 'x'], /unknown option '--polcy'\nhint: did you mean --policy\?/],
    [
      [...given, path('wrong.yaml')],
      /wrong[.]yaml:2:3: snp: unknown key "launchDigest"\nhint: did you mean "launchDigests"\?/,
    ],
    [[...given, path('empty.yaml')], /empty[.]yaml:1:1: says nothing about any evidence/],
  ]
  const ended = await Promise.all(cases.map(([args]) => cli(['verify', ...args])))
  for (const [index, [args, message]] of cases.entries()) {
    t.match(ended[index], { code: 2, stdout: '' }, args.join(' '))
    t.match(ended[index]?.stderr, message)
  }
})

t.test('help has examples and the exit codes', async (t) => {
  const { code, stdout } = await cli(['verify', '--help'])
  t.equal(code, 0)
  for (const words of ['Examples:', '5 malformed or not authentic', '--collateral', '--network'])
    t.match(stdout, words)
})

/** As AMD's service answers: by chip and TCB. */
function keyService(): Server {
  const { hwId, tcb } = {
    hwId: report.subarray(0x1a0, 0x1e0).toString('hex'),
    tcb: 'blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219',
  }
  const crl = makeCrl({
    issuer: parseCertificate(root).subject.raw,
    signer: emulation.keys.root,
    algorithm: 'rsa-pss-sha384',
  })
  const answers = new Map<string, Uint8Array>([
    [`/vcek/v1/Milan/${hwId}?${tcb}`, leaf],
    ['/vcek/v1/Milan/cert_chain', Buffer.concat([intermediate, root])],
    ['/vcek/v1/Milan/crl', crl],
    ['/large', Buffer.alloc(2000)],
  ])
  return createServer((request, response) => {
    if (request.url === '/moved') response.writeHead(302, { location: '/large' }).end()
    else if (request.url === '/slow') response.write('x')
    else {
      const answer = answers.get(request.url ?? '')
      response.writeHead(answer ? 200 : 404).end(answer)
    }
  })
}

t.test('endorsements are fetched only where the network is allowed, and kept', async (t) => {
  const server = keyService().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const command = [path('report.bin'), '--policy', path('good.yaml')]
  t.match(await verify(...command), { code: 5, stdout: '[endorsement-missing]' }, 'not asked')
  t.match(await verify(...command, '--network', '--kds', address), { code: 0, stdout: /on no list/ })
  t.match(await verify(path('report.bin'), '--policy', path('good.yaml')), { code: 0 }, 'from the cache')
  const { stdout } = await cli(['certs', 'list', '--json'])
  const { entries } = JSON.parse(stdout)
  t.match(
    entries.map(({ name }: { name: string }) => name),
    [/^ca-/, /^ca-/, /^crl-/, /^vcek-milan-[0-9a-f]{128}-[0-9a-f]{16}[.]der$/],
  )

  const get = (name: string) =>
    boundedFetch(new URL(name, address), { maxBytes: 1000, timeoutMilliseconds: 500 })
  for (const name of ['/none', '/large', '/moved', '/slow'])
    await t.rejects(get(name), { code: 'no-network' }, name)
  const unknown = new SnpSignerEmulation({ keys: emulation.keys }).report()
  await writeFile(path('unknown.bin'), unknown)
  const refused = await verify(
    path('unknown.bin'),
    '--policy',
    path('good.yaml'),
    '--kds',
    address,
    '--network',
  )
  t.match(refused, { code: 3, stdout: '', stderr: /HostError \[no-network\]: cannot fetch .* answered 404/ })
})

t.test('services are asked over https, http only on this machine', async (t) => {
  t.equal(serviceAddress('https://kds.example/base').href, 'https://kds.example/base/')
  for (const wrong of ['http://kds.example', 'file:///etc', 'kds.example', 'https://'])
    t.throws(() => serviceAddress(wrong), { name: 'UsageError', code: 'bad-value' }, wrong)
})

t.test(
  'what was given comes before the network, which is missed only where something is missing',
  async (t) => {
    const service = ['--network', '--kds', 'http://127.0.0.1:9']
    const unreachable = [...service, '--policy', path('good.yaml')]
    const apart = { ATTESTBED_CACHE: path('empty-cache') }
    const enough = await cli(
      ['verify', path('report.bin'), '--certs', path('chain.bin'), ...unreachable, ...AT],
      apart,
    )
    t.match(enough, { code: 0, stdout: 'revocation: not looked at', stderr: /^warning: cannot fetch http:/ })
    const missing = await cli(['verify', path('report.bin'), ...unreachable, ...AT], apart)
    t.match(missing, { code: 3, stdout: '', stderr: /HostError \[no-network\]/ })
    const withRevocation = async (digest: string) => {
      const file = path(`revocation-${digest.slice(0, 2)}.yaml`)
      await writeFile(file, `revocation: required\n${policy(`"${digest}"`)}`)
      return cli(['verify', ...given, file, ...service, ...AT], apart)
    }
    const [lacking, worse] = await Promise.all(['ab', 'cd'].map((byte) => withRevocation(byte.repeat(48))))
    t.match(lacking, { code: 3, stdout: '' }, 'only the list is missing')
    t.match(worse, { code: 6, stderr: /^warning: cannot fetch http:/ }, 'not acceptable whatever a list says')
    t.match(worse?.stdout, '[launch-digest]')
    t.match(worse?.stdout, '[revocation-unchecked]')
  },
)

t.test('certs import keeps what a pinned root vouches for, and refuses the rest', async (t) => {
  const emulated = await cli(['certs', 'import', path('chain.bin')])
  t.match(emulated, { code: 5, stderr: /VerifyError \[unknown-root\]: cannot keep .*VCEK for Milan/ })
  t.match(await cli(['certs', 'import', path('good.yaml')]), { code: 5, stderr: /FormatError/ })
})

t.test("AMD's and Intel's endorsements are kept, in any order", { skip: vectorsMissing }, async (t) => {
  const names = [
    ...['snp/milan_v3_vcek.cert.der', 'snp/milan_v3_vlek.cert.der', 'snp/turin_v5_vcek.cert.der'],
    ...vectorNames('snp/certs'),
    ...vectorNames('tdx').filter((name) => name.endsWith('collateral.json')),
  ]
  const file = (name: string) => path(name.replaceAll('/', '-'))
  await Promise.all(names.map((name) => writeFile(file(name), vector(name))))
  const { code, stdout, stderr } = await cli(['certs', 'import', ...names.map(file)])
  t.equal(code, 0, stderr)
  t.match(stdout, /VCEK for Milan\S*, chip [0-9a-f]{128}/)
  for (const words of [
    'SEV-Milan',
    'TCB info for FMSPC',
    'identity of the TD quoting enclave',
    'revocation list of',
  ])
    t.match(stdout, words)
})
