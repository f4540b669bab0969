/**
 * Every shared vector through the same function as the command line. The index says what is expected; a kind that is
 * neither handled nor listed with a reason fails, so that a new vector is never passed over.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { refusesToParse } from '../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../base/testing/vectors.ts'
import { parseCcelTable } from '../formats/event-log/ccel-table.ts'
import { readEndorsementFiles } from './endorsements.ts'
import { parseTdxCollateral } from './tdx/collateral.ts'
import { request, verdictOf } from './testing/vector-requests.ts'
import { inspectEvidence } from './verify-evidence.ts'

interface Item {
  readonly file: string
  readonly kind: string
  // biome-ignore lint/suspicious/noExplicitAny: what an item expects differs by kind
  readonly expected: any
}

/** Not evidence of these kinds: the test that reads them, or why nothing here can. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'expected-values': 'harness/measure/sev-family.test.ts',
  'snp-launch-inputs': 'harness/measure/sev-family.test.ts',
  'snp id-block vector': 'harness/measure/id-block/id-block.test.ts',
  'kbs/as sample': 'harness/evidence/unwrap.test.ts',
  'attestation-token jwk + trust anchor': "the key broker's tokens, which have no room yet",
  'runtime-data digest vector': "the key broker's binding, which has no room yet",
  'sev-ca': 'harness/evidence/sev/chain.test.ts',
  'sev-ark-negative': 'harness/evidence/sev/chain.test.ts',
  'sev-cert (legacy)': 'harness/evidence/sev/chain.test.ts',
  'mutation rules': 'harness/evidence/negatives.test.ts',
  'trustee parse output': 'harness/formats/event-log/event-log.test.ts',
  'tpm2_eventlog expected output': 'harness/formats/event-log/event-log.test.ts',
  'hcl variable data': 'the runtime data of an HCL report that is not among the vectors',
  'RSASSA-SHA256 signature': 'nobody has the key; see TPMS_ATTEST',
}

const items: readonly Item[] = vectorsMissing ? [] : parse(vectorText('index.yaml')).vectors

const HANDLED: Readonly<Record<string, (t: Test, item: Item) => Promise<void> | void>> = {
  'snp-attestation-report': snpReport,
  'snp-cert-table': certificateTable,
  'snp-leaf-cert': leafCertificate,
  'snp-leaf-cert-negative': forgedLeaf,
  'amd-ca-cert': certificates,
  'tdx-quote-v4': tdxQuote,
  'tdx-quote-v5': tdxQuote,
  'tdx-collateral': collateral,
  'tdx-collateral-bundle': collateral,
  'tdx-qvl-sample-set': sampleSet,
  'quote+eventlog json': dstackQuote,
  'td-quote.bin': tdxQuoteWithoutIndex,
  'ccel-event-log': eventLog,
  'tcg-event-log': eventLog,
  'ccel-acpi-table': (t, { file }) => void t.ok(parseCcelTable(vector(file)).logBytes > 0n),
  'azure-hcl-report': hclReport,
  'trustee-az-snp-vtpm-evidence': azureEvidence,
  'trustee-az-tdx-vtpm-evidence': azureEvidence,
  'tpm-ak-public': (t) => azureQuote(t, 'azure/kinvolk_quote.bin'),
  'tpm-quote(bincode)': (t, { file }) => azureQuote(t, file),
  'tpm-quote-v1.json': untrustedQuote,
  'trustee-tpm-evidence': carriedKeyQuote,
  'keylime r<quote>:<sig>:<pcrs>': untrustedQuote,
  'go-tpm-tools attest.Attestation protobuf (AK pub, quotes sha1+sha256, event log)': goTpmTools,
  TPMS_ATTEST: attestWithoutKey,
  'vcek.pem': certificates,
  'vcek+chain pem': certificates,
}

t.test('every vector has a test or a reason', { skip: vectorsMissing }, async (t) => {
  const unknown = items.filter(({ kind }) => !(kind in HANDLED) && !(kind in ELSEWHERE))
  t.same(
    unknown.map(({ file, kind }) => `${file}: ${kind}`),
    [],
  )
  t.ok(items.length > 140, `${items.length} vectors`)
  const root = join(import.meta.dirname, '../..')
  const tests = Object.entries(ELSEWHERE).filter(([, where]) => where.endsWith('.test.ts'))
  for (const [kind, where] of tests)
    t.match(readFileSync(join(root, where), 'utf8'), /vector(?:Text)?\(/, kind)
})

for (const item of items) {
  const test = HANDLED[item.kind]
  if (test) t.test(`${item.file} (${item.kind})`, async (t) => test(t, item))
}

/** What the index says of a field is what we decode; meta data of the index itself are no fields. */
const NO_FIELDS = new Set([
  ...[
    'verdict',
    'verdict_crypto',
    'cert',
    'crypto',
    'report_signature_ok',
    'leaf_cert',
    'root_is_intel_production',
  ],
  ...[
    'collateral',
    'tcb',
    'expected_by_repo',
    'cert_type',
    'signature_len',
    'total_len',
    'body_type',
    'body_size',
  ],
  ...[
    'ccel',
    'rtmr_replay',
    'quote',
    'rtmr_equal',
    'note',
    'basis',
    'replay_of',
    'recomputed_measurement',
    'signed_by',
    'td_attributes_note',
  ],
])

function sameFields(t: Test, expected: object, fields: object): void {
  const compared = Object.entries(expected).filter(([name]) => !NO_FIELDS.has(name))
  for (const [name, value] of compared) t.same(Reflect.get(fields, name), value, name)
}

async function snpReport(t: Test, { file, expected }: Item): Promise<void> {
  const at = new Date(`${expected.cert.not_before.replace(' ', 'T')}Z`)
  at.setUTCDate(at.getUTCDate() + 1)
  const verdict = await verdictOf(request(file, { certs: [expected.leaf_cert, 'snp/certs'], at }))
  t.match(verdict, { kind: 'snp-report', authentic: true, acceptable: true, findings: [] })
  t.equal(expected.verdict, 'accept')
  sameFields(t, expected, verdict.fields)
}

async function certificateTable(t: Test, { file, expected }: Item): Promise<void> {
  const at = '2025-06-01'
  const verdict = await verdictOf(request(expected.pairs_with, { certs: [file], at }))
  t.match(verdict, { authentic: true, acceptable: true }, 'its certificates are enough')
}

function leafCertificate(t: Test, { file }: Item): void {
  t.ok(
    items.some(({ expected }) => expected.leaf_cert === file),
    'a report names it',
  )
  certificates(t, { file })
}

function certificates(t: Test, { file }: Pick<Item, 'file'>): void {
  t.ok(readEndorsementFiles({ certificates: [vector(file)], crls: [] }).certificates.length > 0)
}

async function forgedLeaf(t: Test, { file }: Item): Promise<void> {
  const certs = [file, 'snp/certs']
  const verdict = await verdictOf(request('snp/milan_v2_vcek.report.bin', { certs, at: '2024-06-01' }))
  t.match(verdict, { authentic: false, findings: [{ code: 'certificate-signature' }] })
}

async function tdxQuote(t: Test, { file, expected }: Item): Promise<void> {
  const at = withinPck(expected)
  const alone = await verdictOf(request(file, { at }))
  t.equal(alone.authentic, expected.verdict_crypto === 'accept', JSON.stringify(alone.findings))
  t.equal(alone.acceptable, false, 'without collateral the TCB status is unknown')
  sameFields(t, expected, alone.fields)
  if (expected.collateral === undefined) return
  const then = withinCollateral(expected.tcb)
  const verdict = await verdictOf(
    request(file, { collateral: [expected.collateral, SIGNING_CHAIN], at: then }),
  )
  // The signing certificate of that time is not among the vectors.
  if (then.getUTCFullYear() < 2025) return void t.match(verdict.findings, [{ code: 'not-yet-valid' }])
  t.equal(verdict.authentic, true, JSON.stringify(verdict.findings))
  const [platform] = expected.tcb.tcb_status_platform
  const [module, moduleStatus] = expected.tcb.tdx_module
  const status = platform === 'NoMatch' ? 'NotSupported' : platform
  t.match(verdict.fields, { tcb: { platform: status, qe: expected.tcb.qe_status } })
  if (module.startsWith('TDX_')) t.match(verdict.fields, { tcb: { module: `${module} ${moduleStatus}` } })
  const isBest = [platform, expected.tcb.qe_status].every((each) => each === 'UpToDate') && !expected.debug_td
  const listed = verdict.findings.every(
    ({ code }) => code === 'crl-missing' || code === 'collateral-inconsistent',
  )
  t.equal(verdict.acceptable || (isBest && listed), isBest, JSON.stringify(verdict.findings))
}

/** The signing certificate that some sets lack: the PCS issued it in May 2025. */
const SIGNING_CHAIN = 'tdx/collateral_pcs_2026-03/tcb_signing_chain.pem'

function withinPck({ crypto }: Item['expected']): Date {
  const at = new Date(`${crypto.pck_not_after.replace(' ', 'T')}Z`)
  at.setUTCFullYear(at.getUTCFullYear() - 1)
  return at
}

function withinCollateral(tcb: Item['expected']): Date {
  const [from, until] = [tcb.collateral_valid_from, tcb.collateral_valid_until].map((each) =>
    Date.parse(each),
  )
  return new Date(((from ?? 0) + (until ?? 0)) / 2)
}

async function tdxQuoteWithoutIndex(t: Test, { file }: Item): Promise<void> {
  t.match(await verdictOf(request(file, { at: '2026-06-01' })), { kind: 'tdx-quote', authentic: true })
}

function collateral(t: Test, { file }: Item): void {
  const { tcbInfos, qeIdentities, certificates, crls } = parseTdxCollateral(vector(file))
  t.ok([tcbInfos, qeIdentities, certificates, crls].some(({ length }) => length > 0))
}

/** Intel's samples: a root that is not pinned. */
async function sampleSet(t: Test, { file }: Item): Promise<void> {
  // Made of random numbers: SVNs of more than a byte.
  if (file.endsWith('tcbInfo.json'))
    return refusesToParse(t, () => parseTdxCollateral(vector(file)), { code: 'bad-value' })
  if (!file.endsWith('quote.dat')) return collateral(t, { file, kind: '', expected: {} })
  const folder = 'tdx/intel_qvl_sample'
  const files = ['pckCert.pem', 'pckSignChain.pem', 'trustedRootCaCert.pem'].map(
    (name) => `${folder}/${name}`,
  )
  const verdict = await verdictOf(request(file, { collateral: files, at: '2022-01-01' }))
  t.match(verdict, { authentic: false })
}

async function dstackQuote(t: Test, { file }: Item): Promise<void> {
  const verdict = await verdictOf(request(file, { at: '2026-06-01' }))
  t.match(verdict, { kind: 'tdx-quote', authentic: true, acceptable: false })
  t.equal(Reflect.get(verdict.fields, 'report_data'), JSON.parse(vectorText(file)).report_data)
}

async function eventLog(t: Test, { file, expected }: Item): Promise<void> {
  const { kind, fields } = await inspectEvidence({ evidence: vector(file) })
  t.equal(kind, 'event-log')
  const { event_count_incl_header: events, log_bytes_used, digest_algs, final } = expected
  t.match(fields, { event_count: events, log_bytes_used, digest_algs })
  t.same(Reflect.get(fields, 'final'), final, 'the replay')
  const alone = await verdictOf(request(file, {}))
  t.match(alone, { authentic: false, findings: [{ code: 'endorsement-missing' }] }, 'nobody vouches for it')
  if (expected.quote === undefined) return
  const covered = await verdictOf(request(file, { quotes: [expected.quote], at: '2026-06-01' }))
  t.equal(covered.authentic, expected.rtmr_equal, JSON.stringify(covered.findings))
  if (!covered.authentic) t.match(covered.findings, [{ code: 'replay-mismatch' }])
}

async function hclReport(t: Test, { file, expected }: Item): Promise<void> {
  const { fields } = await inspectEvidence({ evidence: vector(file) })
  const { version, report_type, report_data_hash_type, variable_data_size, key_ids, snp } = expected
  t.match(fields, { version, report_type, report_data_hash_type, variable_data_size, key_ids })
  if (snp) sameFields(t, snp, Reflect.get(fields, 'snp') as object)
  const certs = ['azure/az-snp-vtpm_vcek.pem', 'azure/kinvolk_certs.pem']
  const verdict = await verdictOf(request(file, { certs, at: '2024-06-01' }))
  t.equal(verdict.authentic, expected.snp_report_signed_by_cert ?? false, JSON.stringify(verdict.findings))
  if (report_type === 'TDX') t.match(verdict.findings, [{ code: 'endorsement-missing' }])
  if (!verdict.authentic) return
  const policy = { snp: {}, tpm: { pcrs: { sha256: { '7': ['00'.repeat(32)] } } } }
  const unquoted = await verdictOf(request(file, { certs, at: '2024-06-01', policy }))
  t.match(unquoted, { authentic: true, acceptable: false, findings: [{ code: 'pcr-not-quoted' }] })
}

async function azureEvidence(t: Test, { file, kind }: Item): Promise<void> {
  const verdict = await verdictOf(request(file, { certs: ['snp/certs'], at: '2026-06-01' }))
  t.match(verdict, { kind: 'hcl-report', authentic: true })
  const isSnp = kind.includes('snp')
  t.equal(verdict.acceptable, isSnp, 'a TD without collateral has an unknown status')
  const nonce = Buffer.from('challenge')
  const fresh = await verdictOf(
    request(file, { certs: ['snp/certs'], at: '2026-06-01', nonce: Buffer.from('x') }),
  )
  t.match(fresh, { authentic: false, findings: [{ code: 'nonce-mismatch' }] })
  if (isSnp)
    t.match(await verdictOf(request(file, { certs: ['snp/certs'], at: '2026-06-01', nonce })), {
      authentic: true,
    })
}

async function azureQuote(t: Test, file: string): Promise<void> {
  t.match(await verdictOf(request(file, { ak: 'azure/kinvolk_akpub.pem' })), {
    kind: 'tpm-quote',
    acceptable: true,
  })
  t.match(await verdictOf(request(file, {})), {
    authentic: false,
    findings: [{ code: 'endorsement-missing' }],
  })
}

async function untrustedQuote(t: Test, { file }: Item): Promise<void> {
  const verdict = await verdictOf(request(file, {}))
  t.match(verdict, { kind: 'tpm-quote', authentic: false, findings: [{ code: 'endorsement-missing' }] })
  t.ok(Object.keys(verdict.fields).length > 0, 'it is decoded all the same')
}

async function carriedKeyQuote(t: Test, item: Item): Promise<void> {
  await untrustedQuote(t, item)
  t.match(await verdictOf(request(item.file, { ak: item.file })), { authentic: true, acceptable: true })
}

async function goTpmTools(t: Test, item: Item): Promise<void> {
  const { file, expected } = item
  await untrustedQuote(t, item)
  const nonce = Buffer.from(expected.nonce.slice(2), 'hex')
  t.match(await verdictOf(request(file, { ak: file, nonce })), { authentic: true, acceptable: true })
  const log = await verdictOf(request(file, { kind: 'event-log', ak: file, nonce }))
  t.match(log, { kind: 'event-log', authentic: true, acceptable: true }, 'the log inside is what was quoted')
}

async function attestWithoutKey(t: Test, { file, expected }: Item): Promise<void> {
  const { fields } = await inspectEvidence({ evidence: vector(file) })
  t.match(fields, { quotes: [{ type: 'quote' }] })
  const wrong = { signature: expected.signature, ak: 'azure/kinvolk_akpub.pem' }
  t.match(await verdictOf(request(file, wrong)), { authentic: false })
}
