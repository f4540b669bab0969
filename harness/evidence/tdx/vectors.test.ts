import t from 'tap'
import { parse } from 'yaml'
import { FormatError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesToVerify } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { parseCertificates } from '../../formats/pem.ts'
import { parseTdxQuote, type TdxQuote } from '../../formats/tdx/quote.ts'
import { isUnderDebug } from '../../formats/tdx/td-report.ts'
import { commonName } from '../../formats/x509.ts'
import { trustAnchor } from '../certificates/chain.ts'
import { keyObject } from '../certificates/signature.ts'
import { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './collateral.ts'
import { carriedCertificates, readPckIdentity } from './pck.ts'
import { INTEL_TDX_ROOT } from './root.ts'
import { hasSigned } from './signatures.ts'
import { evaluateTcb, type TdxTcb } from './tcb-status.ts'
import { type VerifiedTdxQuote, verifyTdxQuote } from './verify.ts'

/** Other projects' quotes and Intel's collateral; what is expected stands in the vectors' index, not here. */

interface Entry {
  readonly file: string
  readonly kind: string
  readonly expected: Readonly<Record<string, unknown>> & {
    readonly crypto: Readonly<Record<string, unknown>>
    readonly tcb?: {
      readonly tcb_status_platform: readonly [string, string | null, readonly string[]]
      readonly tdx_module: readonly [string, string]
      readonly qe_status: string
      readonly collateral_valid_from: string
      readonly collateral_valid_until: string
    }
    readonly collateral?: string
  }
}

const entries: readonly Entry[] = vectorsMissing ? [] : parse(vectorText('index.yaml')).vectors
const quotes = entries.filter(({ kind }) => kind.startsWith('tdx-quote'))
const skip = vectorsMissing

/** A time at which PCK certificates of all vectors are valid. */
const AT = new Date('2026-04-01T00:00:00Z')
/** The signing certificate that two of the sets lack: the PCS issued it in May 2025. */
const SIGNING_CHAIN = 'tdx/collateral_pcs_2026-03/tcb_signing_chain.pem'

function collateralOf(name: string): TdxCollateral {
  const files = entries.filter(({ file }) => file === name || file.startsWith(`${name}/`))
  return mergeTdxCollateral(...[...files.map(({ file }) => file), SIGNING_CHAIN].map(readCollateral))
}

const readCollateral = (file: string) => parseTdxCollateral(vector(file))
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
/** Lists of a set are a few minutes younger or older than its documents. */
const middle = (from: string, until: string) => new Date((Date.parse(from) + Date.parse(until)) / 2)
const littleEndian = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes.toString('hex')
}

/** As the index spells the fields. */
function fieldsOf({ header, body, ...quote }: TdxQuote): Readonly<Record<string, unknown>> {
  return {
    ...{ version: header.version, att_key_type: header.attestationKeyType },
    tee_type: `0x${header.teeType.toString(16)}`,
    ...{ qe_vendor_id: hex(header.qeVendorId), user_data: hex(header.userData) },
    ...{ tee_tcb_svn: hex(body.teeTcbSvn), mr_seam: hex(body.mrSeam), mrsigner_seam: hex(body.mrSignerSeam) },
    ...{ seam_attributes: hex(body.seamAttributes), td_attributes: littleEndian(body.tdAttributes) },
    ...{ xfam: littleEndian(body.xfam), mr_td: hex(body.mrTd), mr_config_id: hex(body.mrConfigId) },
    ...{ mr_owner: hex(body.mrOwner), mr_owner_config: hex(body.mrOwnerConfig) },
    ...Object.fromEntries(body.rtmrs.map((rtmr, index) => [`rtmr${index}`, hex(rtmr)])),
    report_data: hex(body.reportData),
    ...(body.teeTcbSvn2 && { tee_tcb_svn2: hex(body.teeTcbSvn2), body_type: 3, body_size: 648 }),
    ...(body.mrServiceTd && { mr_service_td: hex(body.mrServiceTd) }),
    ...{ inner_cert_type: quote.certificationData.type, trailing_bytes: quote.trailingBytes },
    debug_td: isUnderDebug(body.tdAttributes),
  }
}

function certifiedFieldsOf({ quote, pckChain, pck }: VerifiedTdxQuote): Readonly<Record<string, unknown>> {
  const [leaf] = pckChain
  return {
    ...{ fmspc: hex(pck.fmspc), pceid: hex(pck.pceId), pcesvn: pck.pceSvn },
    pck_issuer: leaf && commonName(leaf.issuer),
    cpusvn_comps: [...pck.cpuSvnComponents],
    pck_not_after: leaf?.notAfter.toISOString().replace('T', ' ').slice(0, 19),
    ...{ qe_mrsigner: hex(quote.qeReport.mrSigner), qe_isvprodid: quote.qeReport.isvProdId },
    qe_isvsvn: quote.qeReport.isvSvn,
  }
}

const only = (names: readonly string[], fields: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(names.map((name) => [name, fields[name]]))

t.test('every quote parses to the fields that its index names', { skip }, async (t) => {
  t.ok(quotes.length >= 8, 'the index has quotes')
  for (const { file, expected } of quotes) {
    const fields = fieldsOf(parseTdxQuote(vector(file)))
    const named = Object.keys(fields).filter((name) => name in expected)
    t.ok(named.length >= 23, `${file}: the index names most of them`)
    t.strictSame(only(named, fields), only(named, expected), file)
  }
})

t.test('every quote gets its verdict, offline and without collateral', { skip }, async (t) => {
  for (const { file, expected } of quotes) {
    if (expected['root_is_intel_production'] !== true) {
      refusesToVerify(t, () => verifyTdxQuote(vector(file), undefined, { at: AT }), 'unknown-root', file)
      continue
    }
    const verified = verifyTdxQuote(vector(file), undefined, { at: AT })
    const fields = certifiedFieldsOf(verified)
    t.strictSame(fields, only(Object.keys(fields), expected.crypto), file)
    t.equal(verified.tcb, undefined, `${file}: nothing is known of its TCB`)
    t.strictSame(
      verified.findings.map(({ code }) => code),
      ['collateral-missing', 'crl-missing'],
      `${file}: the verdict says what it does not cover`,
    )
  }
})

t.test('every quote with collateral gets the statuses of the index', { skip }, async (t) => {
  const judged = quotes.filter(({ expected }) => expected.tcb !== undefined)
  t.ok(judged.length >= 5, 'the index has statuses')
  for (const { file, expected } of judged) {
    const { tcb } = expected
    if (tcb === undefined) continue
    const collateral = collateralOf(expected.collateral ?? '')
    const at = middle(tcb.collateral_valid_from, tcb.collateral_valid_until)
    const got = statusesOf(file, collateral, at)
    const [platform, date, advisories] = tcb.tcb_status_platform
    t.equal(got.platform.status, platform === 'NoMatch' ? 'NotSupported' : platform, `${file}: platform`)
    t.equal(got.platform.tcbDate?.toISOString().replace('.000Z', 'Z') ?? null, date, `${file}: date`)
    t.strictSame(got.platform.advisoryIds, advisories, `${file}: advisories of the platform`)
    const [moduleId, moduleStatus] = tcb.tdx_module
    const base = moduleId === 'TdxModule(base)'
    t.match(got.module, base ? { id: 'TDX' } : { id: moduleId, status: moduleStatus }, `${file}: module`)
    t.equal(got.qe.status, tcb.qe_status, `${file}: QE`)
  }
})

/** The set of 2023 lacks the signing certificate of its time: there the pure evaluation is compared. */
function statusesOf(file: string, collateral: TdxCollateral, at: Date): TdxTcb {
  const quote = parseTdxQuote(vector(file))
  const signer = required(parseCertificates(vector(SIGNING_CHAIN))[0])
  if (at >= signer.notBefore) return required(verifyTdxQuote(quote, collateral, { at }).tcb)
  refusesToVerify(t, () => verifyTdxQuote(quote, collateral, { at }), 'not-yet-valid', file)
  const info = required(collateral.tcbInfos[0])
  const identity = required(collateral.qeIdentities[0])
  for (const { signedBytes, signature } of [info, identity])
    t.ok(hasSigned(keyObject(signer.publicKey), signedBytes, signature), `${file}: signed by the same key`)
  const pck = readPckIdentity(required(carriedCertificates(quote)[0]))
  return evaluateTcb({
    ...{ body: quote.body, qeIsvSvn: quote.qeReport.isvSvn, pck },
    ...{ tcbInfo: info.content, qeIdentity: identity.content },
  })
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error('a vector lacks what its index promises')
  return value
}

t.test('converged: up to date, out of date, and below every level', { skip }, async (t) => {
  const statuses = (file: string, collateral: string, at: string) =>
    verifyTdxQuote(vector(file), collateralOf(collateral), { at: new Date(at) })
  const upToDate = statuses('tdx/v4_uptodate.quote.bin', 'tdx/v4_uptodate.collateral.json', '2025-07-01')
  t.match(upToDate, { tcb: { status: 'UpToDate' }, evaluationDataNumber: 17 })
  t.strictSame([upToDate.tcb?.advisoryIds, upToDate.findings], [[], []])
  const old = statuses('tdx/v4_outofdate_8000.quote.bin', 'tdx/collateral_automata_2025-07', '2025-07-10')
  t.equal(old.tcb?.status, 'OutOfDate')
  const below = statuses('tdx/v5_emr.quote.bin', 'tdx/collateral_pcs_2026-03', '2026-03-20')
  t.match(below.tcb, { status: 'NotSupported', advisoryIds: ['INTEL-SA-01036', 'INTEL-SA-01099'] })
})

t.test('the listed mutations are refused with their code', { skip }, async (t) => {
  const at = new Date('2025-07-01')
  const collateral = skip ? undefined : collateralOf('tdx/v4_uptodate.collateral.json')
  const quote = () => Buffer.from(vector('tdx/v4_uptodate.quote.bin'))
  const flipped = (offset: number) => {
    const bytes = quote()
    bytes[offset] = (bytes[offset] ?? 0) ^ 1
    return bytes
  }
  const verify = (bytes: Uint8Array) => verifyTdxQuote(bytes, collateral, { at })
  refusesToVerify(t, () => verify(flipped(48 + 136)), 'quote-signature', 'MRTD')
  const authenticationData = quote().indexOf(Buffer.from(parseTdxQuote(quote()).qeAuthenticationData))
  refusesToVerify(t, () => verify(flipped(authenticationData)), 'qe-binding', 'QE authentication data')
  t.equal(verify(quote().subarray(0, -70)).tcb?.status, 'UpToDate', 'trailing bytes may go')
  const sgx = quote()
  sgx.writeUInt32LE(0, 4)
  refusesToParse(t, () => verify(sgx), { code: 'bad-value', field: 'TEE Type', offset: 4 })
  const late = { at: new Date('2025-08-01') }
  refusesToVerify(t, () => verifyTdxQuote(quote(), collateral, late), 'collateral-expired')
  const foreign = mergeTdxCollateral(
    ...['tcb_info_50806f000000.json', 'tcb_signing_chain.pem'].map((file) =>
      readCollateral(`tdx/collateral_pcs_2026-03/${file}`),
    ),
  )
  refusesToVerify(t, () => verifyTdxQuote(quote(), foreign, { at }), 'fmspc-mismatch')
})

t.test(
  'a signed document is verified over its own text, not over another spelling of it',
  { skip },
  async (t) => {
    const at = new Date('2026-03-20')
    const name = 'tdx/collateral_pcs_2026-03/tcb_info_90c06f000000.json'
    const others = ['td_qe_identity.json', 'tcb_signing_chain.pem'].map((file) =>
      readCollateral(`tdx/collateral_pcs_2026-03/${file}`),
    )
    const verify = (document: Uint8Array | string) =>
      verifyTdxQuote(
        vector('tdx/v5_emr.quote.bin'),
        mergeTdxCollateral(parseTdxCollateral(Buffer.from(document)), ...others),
        { at },
      )
    t.ok(verify(vector(name)).tcb, 'as it was sent')
    t.ok(
      verify(vectorText(name).replace(/^\{/, '\n{ ').replace(',"signature"', ' ,\n "signature"')).tcb,
      'space around it',
    )
    const value = JSON.parse(vectorText(name))
    const respelled = {
      'white space': JSON.stringify(value, null, 1),
      'the order of keys': JSON.stringify({
        ...value,
        tcbInfo: Object.fromEntries(Object.entries(value.tcbInfo).reverse()),
      }),
      'an escaped letter': vectorText(name).replace('"id":"TDX"', '"id":"\\u0054DX"'),
    }
    for (const [what, text] of Object.entries(respelled))
      refusesToVerify(t, () => verify(text), 'collateral-signature', what)
  },
)

t.test('a quote of another root is authentic to those who trust that root', { skip }, async (t) => {
  const quote = parseTdxQuote(vector('tdx/v4_untrusted_root.quote.bin'))
  const anchor = trustAnchor(required(carriedCertificates(quote).at(-1)), 'pre-production')
  t.ok(verifyTdxQuote(quote, undefined, { at: AT, root: { ...INTEL_TDX_ROOT, anchor } }))
})

t.test('a quote of the cloud and one inside a JSON document are authentic', { skip }, async (t) => {
  const dstack = Buffer.from(JSON.parse(vectorText('tdx/dstack_quote_report.json')).quote, 'hex')
  for (const bytes of [vector('azure/az-tdx-vtpm_td-quote.bin'), dstack])
    t.equal(verifyTdxQuote(bytes, undefined, { at: AT }).root, INTEL_TDX_ROOT)
})

t.test("Intel's own sample is authentic under its debug root, and under no other", { skip }, async (t) => {
  const folder = 'tdx/intel_qvl_sample'
  const [certificate] = parseCertificates(vector(`${folder}/trustedRootCaCert.pem`))
  if (certificate === undefined) throw new Error('the sample has no root')
  const at = new Date('2026-01-01')
  const bytes = vector(`${folder}/quote.dat`)
  const sampleQe = {
    attributes: '0ccefa96ce1ed0f1bfc11bbf599bc0be',
    mrSigner: hex(parseTdxQuote(bytes).qeReport.mrSigner),
  }
  const root = {
    ...INTEL_TDX_ROOT,
    anchor: trustAnchor(certificate, 'sample root'),
    qe: {
      ...{ miscSelect: 0x093b3713, miscSelectMask: 0xffff_ffff, isvProdId: 29_854 },
      ...{ attributes: Buffer.from(sampleQe.attributes, 'hex'), attributesMask: Buffer.alloc(16, 0xff) },
      mrSigner: Buffer.from(sampleQe.mrSigner, 'hex'),
    },
  }
  const lists = ['intermediateCaCrl.der', 'rootCaCrl.der'].map((file) => readCollateral(`${folder}/${file}`))
  const outcome = outcomeOf(() => verifyTdxQuote(bytes, mergeTdxCollateral(...lists), { at, root }))
  t.equal(outcome, 'accepted')
  refusesToVerify(t, () => verifyTdxQuote(bytes, undefined, { at }), 'unknown-root')
  const info = outcomeOf(() => parseTdxCollateral(vector(`${folder}/tcbInfo.json`)))
  t.ok(info instanceof FormatError, 'its TCB info has SVNs that do not fit a byte, which no real one has')
})
