import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { digest, sha256Hex } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'
import { bound } from '../checks.ts'
import { parsePolicy } from './parse.ts'
import { resolveFiles } from './resolve.ts'
import { policySchema } from './schema.ts'

const here = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8')
const parse = (text: string) => parsePolicy(text, { file: 'p.yaml' })
const digestOf = (byte: string, bytes: number): string => byte.repeat(bytes)

t.test('the example is a policy', async (t) => {
  const policy = parsePolicy(here('example.yaml'), { file: 'example.yaml' })
  t.match(policy, { snp: { products: ['genoa', 'turin'] }, eventLog: { secureBoot: 'on' } })
})

t.test('schema.json is that of the code', async (t) => {
  const schema = z.toJSONSchema(policySchema, { io: 'input', unrepresentable: 'any', reused: 'ref' })
  t.same(JSON.parse(here('schema.json')), JSON.parse(JSON.stringify(schema)), 'made from policySchema')
})

t.test('a wrong policy names the place and what is wrong', async (t) => {
  const cases: readonly (readonly [string, RegExp, string?])[] = [
    ['', /p[.]yaml:1:1: /],
    ['{}', /p[.]yaml:1:1: says nothing about any evidence/],
    ['title: all\n', /says nothing about any evidence/],
    ['snp:\n', /p[.]yaml:1:5: snp: /],
    ['snp: {}\n', /p[.]yaml:1:6: snp: requires nothing/],
    ['snp:\n  guestPolicy: {}\n', /p[.]yaml:2:16: snp[.]guestPolicy: requires nothing/],
    ['snp:\n  minimumLaunchTcb: { milan: {} }\n', /snp[.]minimumLaunchTcb[.]milan: requires nothing/],
    ['tpm:\n  pcrs: { sha256: {} }\n', /p[.]yaml:2:19: tpm[.]pcrs[.]sha256: requires nothing/],
    [`tpm:\n  pcrs: { sha1: { 7: ["${digestOf('11', 20)}"], "7": ["${digestOf('22', 20)}"] } }\n`, /unique/],
    ['hcl:\n  vmConfiguration: {}\n', /hcl[.]vmConfiguration: requires nothing/],
    ['eventLog:\n  db: { includes: [] }\n', /eventLog[.]db[.]includes: at least one value/],
    ['snp:\n  vmpl: [0]\n', /p[.]yaml:2:3: snp: unknown key "vmpl"/, 'did you mean "vmpls"?'],
    ['snp:\n  vmpls: [0]\n  vmpls: [1]\n', /p[.]yaml:3:3: .*unique/],
    ['snp:\n  vmpls: [4]\n', /p[.]yaml:2:11: snp[.]vmpls[.]0: /],
    ['snp:\n  vmpls: []\n', /at least one value/],
    [`snp:\n  launchDigests: ["${digestOf('ab', 47)}"]\n`, /p[.]yaml:2:19: .*96 hex digits/],
    [`snp:\n  launchDigests: [${digestOf('11', 48)}]\n`, /48 bytes in hex, in quotes/],
    ['snp:\n  launchDigests: ["0x11"]\n', /only hex digits|96 hex digits/],
    ['snp:\n  reportData: { value: "00", sha256: [nonce] }\n', /exactly one of value, sha256/],
    ['snp:\n  guestPolicy: { debug: maybe }\n', /snp[.]guestPolicy[.]debug/],
    ['snp:\n  minimumReportedTcb: { milan: { fmc: 1 } }\n', /unknown key "fmc"/],
    ['tdx:\n  tcbStatuses: [Uptodate]\n', /tdx[.]tcbStatuses[.]0/],
    ['tpm:\n  pcrs: { sha256: { "24": ["00"] } }\n', /p[.]yaml:2:/],
    [
      `eventLog:\n  db: { exactly: [], includes: ["${digestOf('11', 32)}"] }\n`,
      /exactly one of exactly and includes/,
    ],
    ['snp: !!js/function x\n', /p[.]yaml:1:/],
  ]
  for (const [text, message, hint] of cases) {
    const error = t.throws(() => parse(text), { name: 'UsageError', code: 'bad-config', message }, text)
    if (hint !== undefined && error instanceof UsageError) t.equal(error.hint, hint)
  }
})

t.test('files that a policy names become fingerprints and bytes', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const der = publicKey.export({ format: 'der', type: 'spki' })
  const files = new Map<string, Uint8Array>([
    ['ak.der', der],
    ['ak.pem', Buffer.from(publicKey.export({ format: 'pem', type: 'spki' }))],
    ['junk', Buffer.from('junk')],
  ])
  const read = async (name: string) => files.get(name) ?? Buffer.alloc(0)
  const text = (ak: string) =>
    `tpm:\n  aks: [{ file: ${ak} }]\n  extraData: { sha256: [nonce, { file: junk }] }\n`
  for (const name of ['ak.der', 'ak.pem']) {
    const { tpm } = await resolveFiles(parse(text(name)), read)
    t.same(tpm, {
      aks: [sha256Hex(der)],
      extraData: { sha256: ['nonce', { hex: Buffer.from('junk').toString('hex') }] },
    })
  }
  const wrong = { name: 'UsageError', code: 'bad-config', message: /junk.*holds no certificate or key/ }
  await t.rejects(resolveFiles(parse(text('junk')), read), wrong)
  await t.rejects(resolveFiles(parse('eventLog: { ukiSignedBy: [{ file: junk }] }'), read), wrong)
})

t.test('a field is bound to a value, the nonce, or a digest over it', async (t) => {
  const nonce = Buffer.from('9009', 'hex')
  const field = Buffer.alloc(64)
  nonce.copy(field)
  const hashed = Buffer.alloc(64)
  digest('sha256', nonce, Buffer.from([1])).copy(hashed)
  const codes = (options: Omit<Parameters<typeof bound>[0], 'field'>) =>
    bound({ field: 'REPORT_DATA', ...options }).map(({ code }) => code)

  t.same(codes({ got: field, binding: undefined, nonce: undefined }), [], 'nothing is asked')
  t.same(codes({ got: field, binding: undefined, nonce }), [])
  t.same(codes({ got: hashed, binding: undefined, nonce }), ['report-data'])
  t.same(codes({ got: field, binding: { value: '9009' }, nonce: undefined }), [])
  t.same(codes({ got: field, binding: { value: '9008' }, nonce: undefined }), ['report-data'])
  const over = { sha256: ['nonce' as const, { hex: '01' }] }
  t.same(codes({ got: hashed, binding: over, nonce }), [])
  t.same(codes({ got: field, binding: over, nonce }), ['report-data'])
  t.same(codes({ got: hashed, binding: over, nonce: undefined }), ['nonce-missing'])
  t.same(codes({ got: hashed, binding: over, nonce: Buffer.from('9008', 'hex') }), ['report-data'])
  t.same(codes({ got: field, binding: { value: '9009' }, nonce: Buffer.from('11', 'hex') }), [
    'nonce-missing',
  ])
  t.same(codes({ got: Buffer.alloc(4), binding: { value: '9009900990' }, nonce: undefined }), ['report-data'])
})
