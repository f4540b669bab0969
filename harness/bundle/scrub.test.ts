import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Scope } from '../system/scope.ts'
import { makeBundle } from './make.ts'
import { openBundle } from './read.ts'
import { scrub } from './scrub.ts'
import { LONGEST_SECRET, SECRET_KINDS, type SecretKind, secretPatterns } from './secrets.ts'
import { fakePoint, NAMES, RESULT } from './testing/fake-point.ts'

const PATTERNS = secretPatterns(NAMES)
const RECOVERY = 'cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv'
const PEM_BODY = `MIIEvQIBADANBgkq${'hkiG9w0BAQEF'.repeat(40)}`
const PEM = `-----BEGIN PRIVATE KEY-----\n${PEM_BODY}\n-----END PRIVATE KEY-----`

/** A text with the secret, and the part of it that must be gone. */
const PLANTS: readonly { readonly kind: SecretKind; readonly text: string; readonly gone: string }[] = [
  { kind: 'private-key', text: PEM, gone: PEM_BODY },
  { kind: 'private-key', text: PEM.replaceAll('\n', '\r\n'), gone: PEM_BODY },
  {
    kind: 'private-key',
    text: `"${PEM.replace('PRIVATE', 'RSA PRIVATE').slice(0, 200)}"`,
    gone: PEM_BODY.slice(0, 100),
  },
  { kind: 'private-key', text: PEM.replaceAll('PRIVATE', 'OPENSSH PRIVATE'), gone: PEM_BODY },
  { kind: 'recovery-key', text: `the key is ${RECOVERY}.`, gone: RECOVERY },
  { kind: 'passphrase', text: 'luks-key: "hunter22-or-so"', gone: 'hunter22-or-so' },
  { kind: 'passphrase', text: 'https://x.example/?password=s3cr3t-value&x=1', gone: 's3cr3t-value' },
  { kind: 'passphrase', text: String.raw`{\"passphrase\":\"open-sesame\"}`, gone: 'open-sesame' },
  { kind: 'token', text: 'Authorization: Bearer abcdef0123456789abcdef', gone: 'abcdef0123456789abcdef' },
  { kind: 'token', text: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0x.c2lnbmF0dXJl', gone: 'eyJzdWIiOiJ4In0x' },
  { kind: 'token', text: `ghp_${'a1B2'.repeat(9)}`, gone: 'a1B2a1B2' },
  { kind: 'token', text: 'http://me:letmein99@proxy.example/', gone: 'letmein99' },
  { kind: 'home-path', text: '/home/alice/src/x.ts', gone: '/home/alice' },
  { kind: 'home-path', text: '/home/bob/src/x.ts', gone: 'bob' },
  { kind: 'host-name', text: 'Linux build7 6.12', gone: 'build7' },
  { kind: 'user-name', text: 'owner alice, group', gone: 'alice' },
  {
    ...{ kind: 'tpm-payload', gone: 'DE AD BE EF' },
    text: ' SWTPM_IO_Write: length 14\n 80 01 00 00 00 0E 00 00 00 00 DE AD BE EF \n',
  },
]

for (const [index, { kind, text, gone }] of PLANTS.entries()) {
  t.test(`${kind} (${index}) is masked byte for byte, as bytes and as UTF-16`, async (t) => {
    for (const encoding of ['latin1', 'utf16le'] as const) {
      const before = Buffer.from(`before ${text} after`, encoding)
      const bytes = Buffer.from(before)
      const counts = scrub(bytes, PATTERNS)
      t.ok((counts[kind] ?? 0) > 0, `it is counted as ${encoding}`)
      t.equal(bytes.length, before.length)
      t.notOk(bytes.toString(encoding).includes(gone), 'it is gone')
      t.ok(bytes.toString(encoding).startsWith('before '), 'what stands before it stays')
      t.ok(bytes.toString(encoding).endsWith(' after'), 'and what stands behind it')
    }
  })
}

t.test('every kind of secret is planted above', async (t) => {
  t.same([...new Set(PLANTS.map(({ kind }) => kind))].sort(), [...SECRET_KINDS].sort())
})

t.test(
  'what is no secret stays: digests, PEM certificates, a guest called root, JSON of our own',
  async (t) => {
    const texts = [
      'a'.repeat(64),
      `-----BEGIN CERTIFICATE-----\n${PEM_BODY}\n-----END CERTIFICATE-----`,
      '{"ms":67863,"bytes":72,"secret":true}',
      'the recovery key opens it; Please enter recovery key:',
      'rebuild77 build70 malice /home/',
    ]
    for (const text of texts) {
      const bytes = Buffer.from(text)
      t.same(scrub(bytes, PATTERNS), {}, text.slice(0, 30))
      t.equal(bytes.toString(), text)
    }
    const own = secretPatterns({ home: '/root', host: 'localhost', user: 'root' })
    const words = Buffer.from('root=/dev/vda root:x:0 localhost')
    t.same(scrub(words, own), {})
  },
)

t.test('a secret across the border of two windows is masked whole', async (t) => {
  const window = 8 * 2 ** 20
  for (const at of [window - LONGEST_SECRET - 10, window - LONGEST_SECRET, window - 40, window - 1, window]) {
    const bytes = Buffer.alloc(window + 2 * LONGEST_SECRET, '.')
    bytes.write(PEM, at)
    scrub(bytes, PATTERNS)
    t.notOk(bytes.includes(PEM_BODY.slice(0, 12)), `at ${at}`)
    t.notOk(bytes.includes(PEM_BODY.slice(-12)), `at ${at}`)
  }
})

t.test('JSON stays JSON with as many lines, whatever is masked in it', async () => {
  const word = fc.oneof(fc.string(), fc.constantFrom(...PLANTS.map(({ text }) => text)))
  fc.assert(
    fc.property(fc.array(fc.dictionary(fc.string(), word), { maxLength: 5 }), (values) => {
      const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''))
      scrub(bytes, PATTERNS)
      const lines = bytes.toString().split('\n').slice(0, -1)
      for (const line of lines) JSON.parse(line)
      return lines.length === values.length
    }),
    { numRuns: 300 },
  )
})

t.test(
  'secrets planted in every kind of member are not in the bundle, and what was masked is listed',
  async (t) => {
    const plant = PLANTS.map(({ text }) => text).join('\n')
    const members = [
      ...['events.jsonl', 'guest/boot-1/console.raw', 'guest/boot-1/console.sent', 'guest/boot-1/vtpm.log'],
      ...['guest/boot-1/qemu.log', 'guest/variables.fd', 'guest/vtpm/tpm2-00.permall', 'guest/disk.qcow2'],
    ]
    const binary = Buffer.concat([randomBytes(5000), Buffer.from(plant, 'latin1'), randomBytes(5000)])
    const wide = Buffer.concat([randomBytes(5001), Buffer.from(plant, 'utf16le')])
    const content = (path: string) => (path.endsWith('.fd') ? wide : binary)
    const planted = Object.fromEntries(members.map((path) => [path, content(path)]))
    const result = {
      ...RESULT,
      reason: plant,
      claims: RESULT.claims.map((claim) => ({ ...claim, got: plant })),
    }
    const { runs, found } = await fakePoint({ ...planted, 'guest/owner.secret': plant }, result)
    await writeFile(join(found.run, 'run.json'), JSON.stringify(recordWith(plant)))
    t.teardown(() => rm(runs, { recursive: true }))
    const scope = new Scope('test')
    t.teardown(() => scope.close())
    const request = {
      ...{ found, file: join(runs, 'x.attestbed'), checkout: join(import.meta.dirname, '../..') },
      ...{ version: '0', packages: [], names: NAMES },
    }
    await makeBundle({ ...request, include: [] })
    const bundle = await openBundle(scope, request.file)
    const { manifest } = bundle
    const texts = await Promise.all(
      ['manifest.json', ...manifest.members.map(({ path }) => path)].map(async (path) =>
        path === 'manifest.json'
          ? Buffer.from(JSON.stringify(manifest))
          : readFile(bundle.member(path) ?? ''),
      ),
    )
    for (const { gone, kind } of PLANTS)
      for (const encoding of ['latin1', 'utf16le'] as const)
        t.notOk(
          texts.some((text) => text.includes(Buffer.from(gone, encoding))),
          `${kind} as ${encoding}`,
        )
    for (const path of members)
      t.ok(
        manifest.scrubbed.some(({ member }) => member === `run/${path}`),
        path,
      )
    t.match(manifest.leftOut, [{ what: 'run/guest/owner.secret', reason: 'it is a secret' }])
    await makeBundle({ ...request, include: ['recovery-key'] })
    const asked = await openBundle(scope, request.file)
    t.ok(
      (await readFile(asked.member('run/guest/boot-1/console.raw') ?? '')).includes(RECOVERY),
      'asked for by name',
    )
    t.same(asked.manifest.included, ['recovery-key'])
  },
)

t.test(
  'what a bundle has of names that are also ids, of torn records and of empty disks, a reader takes',
  async (t) => {
    const { runs, found } = await fakePoint({
      'guest/boot-1/bill.json': '{"materials":[{"ro',
      'guest/disk.qcow2': Buffer.alloc(40 * 2 ** 20),
      'events.jsonl': '{"type":"scenario-started","tit',
    })
    t.teardown(() => rm(runs, { recursive: true }))
    await writeFile(join(found.run, 'run.json'), '{"argv":[')
    const scope = new Scope('test')
    t.teardown(() => scope.close())
    const request = {
      ...{ found, file: join(runs, 'x.attestbed'), checkout: join(import.meta.dirname, '../..') },
      ...{ version: '0', packages: [], include: [] },
      names: { home: '/home/micro', host: 'stateful', user: 'micro' },
    }
    await makeBundle(request)
    const { manifest } = await openBundle(scope, request.file)
    t.same(manifest.variant, RESULT.variant, 'an id is no name')
    t.match(manifest.leftOut, [{ what: 'run/guest/disk.qcow2', reason: /so empty/ }])
    const variant = { ...RESULT.variant, image: './own.yaml' }
    const brought = { ...request, found: { ...found, result: { ...RESULT, variant } } }
    await t.rejects(makeBundle(brought), { code: 'bad-value', message: /no reader would take it.*image/ })
  },
)

function recordWith(plant: string) {
  return {
    ...{ version: 1, argv: ['run', plant], tools: { kind: 'tree', digest: '1'.repeat(64) } },
    ...{
      sampling: { seed: 1, states: { first: 1, last: 4 } },
      host: { facts: [{ id: 'x', proof: plant }], platforms: {} },
    },
  }
}
