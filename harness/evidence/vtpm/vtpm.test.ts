import { createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import t from 'tap'
import { parse as parseYaml } from 'yaml'
import { type DigestAlgorithm, digest } from '../../base/digest.ts'
import { refusesToParse, refusesToVerify, refusesTruncation } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { type HclReport, parseHclReport } from '../../formats/hcl-report.ts'
import { type HclSpec, hclReport as hclReportOf } from '../testing/hcl-report.ts'
import { encodeAttest, makeAk, signAttest } from '../testing/software-tpm.ts'
import { parseAzCvmVtpmQuote } from '../tpm/files/az-cvm-vtpm.ts'
import { verifyTpmQuote } from '../tpm/quote.ts'
import { parseAzureEvidence, parseAzureQuote, parseTrusteeTpmEvidence } from './azure-evidence.ts'
import type { EndorsingReport } from './hardware-report.ts'
import { parseRuntimeData, verifyHclEndorsement } from './hcl.ts'

// --- HCL reports ---

const ak = generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwk = (kid: string): JsonWebKey => ({
  kid,
  key_ops: ['sign'],
  ...ak.publicKey.export({ format: 'jwk' }),
})
const RUNTIME = {
  keys: [jwk('HCLAkPub'), jwk('HCLEkPub')],
  'vm-configuration': { 'secure-boot': true },
  'user-data': '00'.repeat(64),
}

const hclReport = (spec: Partial<HclSpec> = {}): Buffer => hclReportOf({ runtime: RUNTIME, ...spec })

/** What a genuine hardware report over this runtime data carries. */
function endorsing({ runtimeData, hash, hardware }: HclReport): EndorsingReport {
  const reportData = Buffer.alloc(64)
  digest(hash, runtimeData).copy(reportData)
  return hardware === 'snp' ? { kind: 'snp', reportData, vmpl: 0 } : { kind: 'tdx', reportData }
}

t.test('an HCL report gives the hardware report and the runtime data as they were hashed', async (t) => {
  const hashes: [number, DigestAlgorithm][] = [
    [1, 'sha256'],
    [2, 'sha384'],
    [3, 'sha512'],
  ]
  for (const [type, hardware, length] of [
    [2, 'snp', 1184],
    [4, 'tdx', 1024],
  ] as const)
    for (const [id, hash] of hashes) {
      const hcl = parseHclReport(hclReport({ type, hash: id }))
      t.match(hcl, { version: 2, hardware, hash })
      t.equal(hcl.hardwareReport.length, length)
      const endorsement = verifyHclEndorsement(hcl, endorsing(hcl))
      t.match(endorsement, { kind: 'hcl', hardware, vmConfiguration: { 'secure-boot': true } })
      t.ok(endorsement.ak.equals(ak.publicKey) && endorsement.ek?.equals(ak.publicKey))
      t.equal(endorsement.userData?.length, 64)
    }
})

t.test('a malformed HCL report is refused with field and offset', async (t) => {
  const good = hclReport({ padding: 0 })
  refusesTruncation(t, good, parseHclReport)
  const write = (offset: number, value: number) => () => {
    const copy = Buffer.from(good)
    copy.writeUInt32LE(value, offset)
    return parseHclReport(copy)
  }
  const fields: [number, string, readonly number[]][] = [
    [4, 'version', [0, 3, 0xffff_ffff]],
    [8, 'report_size', [0, 1, 0xffff_ffff]],
    [12, 'request_type', [0, 1, 0xffff_ffff]],
    [16, 'status', [1, 0xffff_ffff]],
    [1216, 'report_size', [0, 1, 0xffff_ffff]],
    [1220, 'data_version', [0, 2]],
    [1224, 'report_type', [0, 1, 3, 5, 0xffff_ffff]],
    [1228, 'hash_type', [0, 4, 0xffff_ffff]],
    [1232, 'report_size', [0, 1, 0xffff_ffff]],
  ]
  for (const [offset, field, values] of fields)
    for (const value of values) refusesToParse(t, write(offset, value), { code: 'bad-value', field })
  for (const offset of [20, 24, 28])
    refusesToParse(t, write(offset, 0x8000), { code: 'reserved-bit', field: 'reserved' })
  refusesToParse(t, write(0, 0), { code: 'bad-magic', offset: 0 })
  refusesToParse(t, () => parseHclReport(Buffer.concat([good, Buffer.of(0, 1)])), {
    code: 'reserved-bit',
    field: 'padding',
  })
  refusesToParse(t, () => parseHclReport(Buffer.alloc(70_000)), { code: 'too-large' })
  const tdx = hclReport({ type: 4 })
  tdx[32 + 1024] = 1
  refusesToParse(t, () => parseHclReport(tdx), { code: 'reserved-bit', offset: 32 + 1024 })
})

t.test(
  'binding-mismatch: REPORT_DATA is of other data, other hardware, or a lower privilege level',
  async (t) => {
    const hcl = parseHclReport(hclReport())
    const good = endorsing(hcl)
    const refuses = (name: string, report: EndorsingReport, of: HclReport = hcl) =>
      refusesToVerify(t, () => verifyHclEndorsement(of, report), 'binding-mismatch', name)
    refuses('another AK', good, parseHclReport(hclReport({ runtime: { ...RUNTIME, keys: [] } })))
    refuses('other hardware', { kind: 'tdx', reportData: good.reportData })
    for (const vmpl of [1, 2, 3, 0xffff_ffff])
      refuses(`VMPL ${vmpl}`, { kind: 'snp', reportData: good.reportData, vmpl })
    for (const offset of [0, 31, 32, 63]) {
      const reportData = Buffer.from(good.reportData)
      reportData[offset] = (reportData[offset] ?? 0) ^ 1
      refuses(`byte ${offset} of REPORT_DATA`, { kind: 'snp', reportData, vmpl: 0 })
    }
    refuses('a digest alone', { kind: 'snp', reportData: good.reportData.subarray(0, 32), vmpl: 0 })
    refuses('another hash', good, { ...hcl, hash: 'sha384' })
  },
)

t.test('runtime data that name no key are refused, also where the hardware vouches for them', async (t) => {
  const cases: [string, unknown][] = [
    ['not JSON', '{'],
    ['a list', []],
    ['no keys', {}],
    ['no AK', { keys: [jwk('HCLEkPub')] }],
    ['two AKs', { keys: [jwk('HCLAkPub'), jwk('HCLAkPub')] }],
    ['an EC key', { keys: [{ kid: 'HCLAkPub', kty: 'EC', crv: 'P-256' }] }],
    ['a key that is none', { keys: [{ kid: 'HCLAkPub', kty: 'RSA', n: '', e: '' }] }],
    ['many keys', { keys: Array.from({ length: 17 }, () => jwk('HCLAkPub')) }],
    ['user data not hex', { ...RUNTIME, 'user-data': 'xy' }],
    ['user data long', { ...RUNTIME, 'user-data': '00'.repeat(65) }],
  ]
  for (const [name, runtime] of cases) {
    const hcl = parseHclReport(hclReport({ runtime }))
    refusesToParse(t, () => verifyHclEndorsement(hcl, endorsing(hcl)), { code: 'bad-value' }, name)
  }
  refusesToParse(t, () => parseRuntimeData({ runtimeData: Buffer.from([0x22, 0xff, 0x22]) }), {
    code: 'bad-value',
  })
})

// --- Azure's evidence ---

function evidence(change: Record<string, unknown> = {}): string {
  const key = makeAk({ scheme: 'rsassa' })
  const message = encodeAttest(key, {})
  const signature = signAttest(key, message, { scheme: 'rsassa', hash: 'sha256' }).subarray(6)
  const quote = {
    message: message.toString('hex'),
    signature: signature.toString('hex'),
    pcrs: ['07'.repeat(32)],
  }
  return JSON.stringify({
    version: 1,
    hcl_report: hclReport().toString('base64url'),
    tpm_quote: quote,
    vcek: 'AAAA',
    ...change,
  })
}

t.test('the evidence of an Azure VM is taken apart', async (t) => {
  const parsed = parseAzureEvidence(evidence())
  t.match(parsed, { hcl: { hardware: 'snp' }, vcek: Buffer.alloc(3), tdQuote: undefined })
  t.match(parsed.quote.signature, { scheme: 'rsassa', hash: { name: 'sha256' } })
  t.match(parseAzureEvidence(evidence({ vcek: undefined, td_quote: 'AAEC' })).tdQuote, Buffer.of(0, 1, 2))
  t.match(
    parseAzureEvidence(evidence({ vcek: '-----BEGIN CERTIFICATE-----' })).vcek?.toString(),
    /^-----BEGIN/,
  )
  const cases: [string, string][] = [
    ['not JSON', '{'],
    ['a list', '[]'],
    ['no report', evidence({ hcl_report: undefined })],
    ['no quote', evidence({ tpm_quote: undefined })],
    ['a quote without PCRs', evidence({ tpm_quote: { message: 'ff', signature: 'ff' } })],
    [
      'many PCRs',
      evidence({
        tpm_quote: {
          message: 'ff',
          signature: '00'.repeat(256),
          pcrs: Array.from({ length: 33 }, () => '00'),
        },
      }),
    ],
    ['not base64', evidence({ hcl_report: '!!' })],
    ['bytes that are none', evidence({ hcl_report: [256] })],
    ['a signature that is none', evidence({ tpm_quote: { message: 'ff', signature: 'ff', pcrs: [] } })],
    ['huge', 'x'.repeat(1024 * 1024 + 1)],
    ['a long list', evidence({ hcl_report: Array.from({ length: 70_000 }, () => 0) })],
  ]
  for (const [name, text] of cases) refusesToParse(t, () => parseAzureEvidence(text), {}, name)
})

interface HclCase {
  readonly file: string
  readonly expected: {
    readonly version: number
    readonly report_type: 'SNP' | 'TDX'
    readonly variable_data_size: number
    readonly report_data: string
    readonly HCLAkPub_modulus_sha256: string
    readonly key_ids: readonly string[]
  }
}

/** REPORT_DATA where the hardware put it: SNP ABI table 23, TDX module REPORTMACSTRUCT. The signature is others' to check. */
function reportData({ hardware, hardwareReport }: HclReport): EndorsingReport {
  if (hardware === 'tdx') return { kind: 'tdx', reportData: hardwareReport.subarray(128, 192) }
  const vmpl = Buffer.from(hardwareReport).readUInt32LE(0x30)
  return { kind: 'snp', reportData: hardwareReport.subarray(0x50, 0x90), vmpl }
}

t.test("HCL reports of Azure's bind the AK that the index names", { skip: vectorsMissing }, async (t) => {
  const { vectors } = parseYaml(vectorText('index.yaml')) as { vectors: (HclCase & { kind: string })[] }
  const cases = vectors.filter(({ kind }) => kind === 'azure-hcl-report')
  t.equal(cases.length, 4)
  for (const { file, expected } of cases) {
    const hcl = parseHclReport(vector(file))
    t.match(
      hcl,
      { version: expected.version, hardware: expected.report_type.toLowerCase(), hash: 'sha256' },
      file,
    )
    t.equal(hcl.runtimeData.length, expected.variable_data_size)
    t.equal(Buffer.from(reportData(hcl).reportData).toString('hex'), expected.report_data)
    const endorsement = verifyHclEndorsement(hcl, reportData(hcl))
    const { n } = endorsement.ak.export({ format: 'jwk' })
    t.equal(
      digest('sha256', Buffer.from(n ?? '', 'base64url')).toString('hex'),
      expected.HCLAkPub_modulus_sha256,
    )
    t.equal(endorsement.ek !== undefined, expected.key_ids.includes('HCLEkPub'))
  }
})

t.test(
  "evidence of Azure's: the quote is by the AK that the hardware vouches for",
  { skip: vectorsMissing },
  async (t) => {
    for (const name of ['az-snp-vtpm_evidence-v0', 'az-snp-vtpm_evidence-v1', 'az-tdx-vtpm_evidence-v1']) {
      const { hcl, quote, vcek, tdQuote } = parseAzureEvidence(vectorText(`azure/${name}.json`))
      const { ak } = verifyHclEndorsement(hcl, reportData(hcl))
      const nonce = Buffer.from('challenge')
      t.equal(verifyTpmQuote(quote, ak, { nonce }).pcrs[0]?.values.size, 24, name)
      t.ok((vcek ?? tdQuote)?.length)
      const forged = { ...hcl, runtimeData: Buffer.from(`${Buffer.from(hcl.runtimeData)} `) }
      refusesToVerify(t, () => verifyHclEndorsement(forged, reportData(hcl)), 'binding-mismatch')
    }
    const { tdQuote } = parseAzureEvidence(vectorText('azure/az-tdx-vtpm_evidence-v1.json'))
    t.strictSame(
      Buffer.from(tdQuote ?? []),
      vector('azure/az-tdx-vtpm_td-quote.bin'),
      'the TD quote is the one beside it',
    )
  },
)

t.test("other quotes of Azure's and Trustee's", { skip: vectorsMissing }, async (t) => {
  const kinvolk = parseAzCvmVtpmQuote(vector('azure/kinvolk_quote.bin'))
  const key = createPublicKey(vectorText('azure/kinvolk_akpub.pem'))
  t.match(verifyTpmQuote(kinvolk, key), { clockInfo: { resetCount: 3 } })
  const trustee = parseTrusteeTpmEvidence(vectorText('azure/trustee_tpm_evidence.json'))
  const trusteeKey = createPublicKey({ key: Buffer.from(trustee.akPublic), format: 'der', type: 'spki' })
  t.equal(verifyTpmQuote(trustee.quote, trusteeKey).nonce.length, 64)
  refusesToVerify(t, () => verifyTpmQuote(trustee.quote, key), 'quote-signature')
  const quote = parseAzureQuote(vectorText('azure/az-snp-vtpm_tpm-quote-v1.json'))
  const hcl = parseHclReport(vector('azure/hcl_snp_trustee.bin'))
  t.match(verifyTpmQuote(quote, verifyHclEndorsement(hcl, reportData(hcl)).ak), { kind: 'tpm-quote' })
  const unsigned = { ...quote, attest: vector('tpm/az_tpm_quote.msg') }
  refusesToVerify(t, () => verifyTpmQuote(unsigned, key), 'quote-signature', 'a quote without its AK')
  const runtime = parseRuntimeData({ runtimeData: vector('azure/kinvolk_var-data.bin') })
  t.match(runtime, { ek: Object, vmConfiguration: { 'tpm-enabled': true } })
})
