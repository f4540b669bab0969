import t from 'tap'
import { digest } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import { outcomeOf, refusesToVerify } from '../../base/testing/rejects.ts'
import { encodePem } from '../../formats/pem.ts'
import { authority, commonNameOf, ecKeyPair, extension, keyUsageBits, publicKeyInfo } from '../testing/pki.ts'
import {
  type CollateralSpec,
  collateralFiles,
  componentLevel,
  moduleIdentityOf,
  qeIdentity,
  SIMULATED_TIME,
  tcbInfo,
} from '../testing/tdx-collateral.ts'
import { makeTdxPki, SERIAL, type SgxExtensionSpec, sgxExtension, type TdxPki } from '../testing/tdx-pki.ts'
import { makeTdxQuote, type QuoteSpec, rawSignature } from '../testing/tdx-quote.ts'
import { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './collateral.ts'
import { INTEL_TDX_ROOT } from './root.ts'
import { verifyTdxQuote } from './verify.ts'

/** One test per way to be not authentic, each from a platform that is right but for the one thing. */

const SGX_EXTENSION = '1.2.840.113741.1.13.1'
const good = makeTdxPki()

interface Attempt {
  readonly pki?: TdxPki
  readonly quote?: QuoteSpec
  readonly collateral?: CollateralSpec
  /** Files to leave out. */
  readonly without?: readonly string[]
  readonly at?: Date
}

function collateralOf(
  pki: TdxPki,
  spec: CollateralSpec = {},
  without: readonly string[] = [],
): TdxCollateral {
  const files = Object.entries(collateralFiles(pki, spec)).filter(([name]) => !without.includes(name))
  return mergeTdxCollateral(...files.map(([, bytes]) => parseTdxCollateral(bytes)))
}

function attempt({ pki = good, quote, collateral, without, at = SIMULATED_TIME }: Attempt = {}) {
  const given = collateralOf(pki, collateral, without)
  return verifyTdxQuote(makeTdxQuote(pki, quote), given, { at, root: pki.root })
}

const NOTHING = ['tcbInfo', 'qeIdentity', 'signingChain', 'rootCrl', 'pckCrl']
const codes = (verified: ReturnType<typeof attempt>) => verified.findings.map(({ code }) => code)

t.test('a whole platform is authentic, and nothing is left unchecked', async (t) => {
  const verified = attempt()
  t.strictSame(codes(verified), [])
  t.match(verified, { tcb: { status: 'UpToDate' }, evaluationDataNumber: 17, root: { simulated: true } })
  t.equal(verified.pckChain.length, 2)
})

t.test('collateral may come many times over', async (t) => {
  const many = mergeTdxCollateral(...Array.from({ length: 70 }, () => collateralOf(good)))
  const verified = verifyTdxQuote(makeTdxQuote(good), many, { at: SIMULATED_TIME, root: good.root })
  t.equal(verified.tcb?.status, 'UpToDate')
})

t.test('what was not given is said, and does not count as checked', async (t) => {
  const bare = attempt({ without: NOTHING })
  t.strictSame(codes(bare), ['collateral-missing', 'crl-missing'])
  t.equal(bare.tcb, undefined)
  for (const without of ['tcbInfo', 'qeIdentity']) {
    const verified = attempt({ without: [without] })
    t.strictSame(codes(verified), ['collateral-missing'], without)
    t.equal(verified.tcb, undefined)
  }
  for (const without of ['rootCrl', 'pckCrl'])
    t.strictSame(codes(attempt({ without: [without] })), ['crl-missing'])
  const mixed = attempt({ collateral: { qeIdentity: qeIdentity({ tcbEvaluationDataNumber: 16 }) } })
  t.strictSame(codes(mixed), ['collateral-inconsistent'])
  t.equal(mixed.evaluationDataNumber, 16, 'the older one decides how old the assessment is')
})

t.test('a simulated root is trusted by name only', async (t) => {
  const quote = makeTdxQuote(good)
  refusesToVerify(t, () => verifyTdxQuote(quote, undefined, { at: SIMULATED_TIME }), 'unknown-root')
  const other = { at: SIMULATED_TIME, root: makeTdxPki().root }
  refusesToVerify(t, () => verifyTdxQuote(quote, collateralOf(good), other), 'unknown-root')
  const mixed = { ...good.root, qe: INTEL_TDX_ROOT.qe, qeVendorId: INTEL_TDX_ROOT.qeVendorId }
  refusesToVerify(
    t,
    () => verifyTdxQuote(quote, undefined, { at: SIMULATED_TIME, root: mixed }),
    'qe-identity',
  )
})

t.test('the chain of the PCK certificate', async (t) => {
  const stranger = ecKeyPair('P-256')
  const refused = (pki: TdxPki, code: Parameters<typeof refusesToVerify>[2], name: string) =>
    refusesToVerify(t, () => attempt({ pki }), code, name)
  refused(makeTdxPki({ pck: { signer: stranger } }), 'certificate-signature', 'PCK signed by a stranger')
  refused(
    makeTdxPki({ pckAuthority: { signer: stranger } }),
    'certificate-signature',
    'authority by a stranger',
  )
  const plain = { extensions: [keyUsageBits(0)] }
  refused(makeTdxPki({ pck: plain }), 'bad-certificate', 'no SGX extension')
  for (const missing of ['1', '2', '3', '4', '5', '2.1', '2.16', '2.17', '2.18'])
    refused(
      makeTdxPki({ sgx: { without: [missing] } }),
      'bad-certificate',
      `SGX extension without ${missing}`,
    )
  refused(makeTdxPki({ pckAuthority: plain }), 'bad-certificate', 'authority that is none')
  const wrongCurve = { publicKey: publicKeyInfo(ecKeyPair('P-384')) }
  refused(makeTdxPki({ pck: wrongCurve }), 'bad-certificate', 'PCK on another curve')
  const signsOnlyCertificates = { extensions: [keyUsageBits(5), extension(SGX_EXTENSION, sgxExtension())] }
  refused(makeTdxPki({ pck: signsOnlyCertificates }), 'bad-certificate', 'PCK that may not sign')
  const old = new Date('2025-06-01')
  refused(makeTdxPki({ pck: { notAfter: old } }), 'expired', 'PCK')
  refused(makeTdxPki({ pckAuthority: { notAfter: old } }), 'expired', 'authority')
  refused(makeTdxPki({ root: { notAfter: old } }), 'expired', 'root')
  refused(makeTdxPki({ pck: { notBefore: new Date('2025-08-01') } }), 'not-yet-valid', 'PCK')
  refusesToVerify(t, () => attempt({ at: new Date(Number.NaN) }), 'not-yet-valid', 'an invalid time')
})

t.test('the SGX extension is refused where a field has not its length or range', async (t) => {
  const components = Array.from({ length: 16 }, () => 1)
  const wrong: readonly SgxExtensionSpec[] = [
    ...[{ components: [256, ...components.slice(1)] }, { pceSvn: 65_536 }, { fmspc: Buffer.alloc(5) }],
    ...[{ pceId: Buffer.alloc(3) }, { ppid: Buffer.alloc(0) }, { cpuSvn: Buffer.alloc(17) }, { sgxType: 3 }],
  ]
  for (const sgx of wrong) {
    const outcome = outcomeOf(() => attempt({ pki: makeTdxPki({ sgx }) }))
    t.ok(outcome instanceof FormatError, Object.keys(sgx).join())
  }
  const twice = Buffer.concat([sgxExtension(), sgxExtension()])
  const pki = makeTdxPki({ pck: { extensions: [keyUsageBits(0), extension(SGX_EXTENSION, twice)] } })
  t.ok(outcomeOf(() => attempt({ pki })) instanceof FormatError, 'two of them')
})

t.test('a PCK is issued by an authority directly below the root', async (t) => {
  const data = Buffer.from(encodePem('CERTIFICATE', good.certificates.tcbSigning))
  const quote = makeTdxQuote(good, { certification: { type: 5, data }, qeSigner: good.keys.tcbSigning })
  const options = { at: SIMULATED_TIME, root: good.root }
  refusesToVerify(
    t,
    () => verifyTdxQuote(quote, undefined, options),
    'bad-chain',
    'a certificate of the root itself',
  )
})

t.test('a quote that only names its PCK needs the certificate from elsewhere', async (t) => {
  const quote: QuoteSpec = { certification: { type: 3, data: Buffer.alloc(404) } }
  refusesToVerify(t, () => attempt({ quote }), 'endorsement-missing')
  const { pck, pckAuthority } = good.certificates
  const chain = [pck, pckAuthority].map((der) => parseTdxCollateral(der))
  const verified = verifyTdxQuote(
    makeTdxQuote(good, quote),
    mergeTdxCollateral(collateralOf(good), ...chain),
    {
      ...{ at: SIMULATED_TIME, root: good.root },
    },
  )
  t.equal(verified.tcb?.status, 'UpToDate')
})

t.test('revocation', async (t) => {
  const revoked = (...serials: readonly number[]) => ({ revoked: serials.map((serial) => ({ serial })) })
  const refused = (collateral: CollateralSpec, code: Parameters<typeof refusesToVerify>[2], name: string) =>
    refusesToVerify(t, () => attempt({ collateral }), code, name)
  refused({ pckCrl: good.pckCrl(revoked(9, SERIAL.pck)) }, 'revoked', 'the PCK')
  refused({ rootCrl: good.rootCrl(revoked(SERIAL.pckAuthority)) }, 'revoked', 'its authority')
  refused({ rootCrl: good.rootCrl(revoked(SERIAL.tcbSigning)) }, 'revoked', 'what signs collateral')
  t.ok(attempt({ collateral: { rootCrl: good.rootCrl(revoked(SERIAL.pck)) } }), 'serials count per issuer')
  const stranger = { signer: ecKeyPair('P-256') }
  refused({ pckCrl: good.pckCrl(stranger) }, 'crl-signature', 'list of the authority')
  refused({ rootCrl: good.rootCrl(stranger) }, 'crl-signature', 'list of the root')
  refused({ pckCrl: good.pckCrl({ nextUpdate: new Date('2025-06-30') }) }, 'crl-expired', 'list')
  refused({ pckCrl: good.pckCrl({ thisUpdate: new Date('2025-07-02') }) }, 'crl-not-yet-valid', 'list')
})

t.test('the quoting enclave', async (t) => {
  const refused = (quote: QuoteSpec, code: Parameters<typeof refusesToVerify>[2], name: string) => {
    refusesToVerify(t, () => attempt({ quote }), code, name)
    refusesToVerify(t, () => attempt({ quote, without: NOTHING }), code, `${name}, without collateral`)
  }
  refused({ qeSigner: ecKeyPair('P-256') }, 'qe-signature', 'signed by a stranger')
  refused({ qe: { reportData: Buffer.alloc(64) } }, 'qe-binding', 'binds nothing')
  const bodySigner = ecKeyPair('P-256')
  const attestationKey = publicKeyInfo(bodySigner).subarray(-64)
  const bound = digest('sha256', attestationKey, Buffer.alloc(32, 0x77))
  const key = { bodySigner, attestationKey }
  t.ok(attempt({ quote: { ...key, qe: { reportData: Buffer.concat([bound, Buffer.alloc(32)]) } } }))
  for (const rest of [0, 15, 31]) {
    const more = Buffer.alloc(32)
    more[rest] = 1
    refused({ ...key, qe: { reportData: Buffer.concat([bound, more]) } }, 'qe-binding', `more at ${rest}`)
  }
  const attributes = (first: number) => Buffer.from([first, ...Buffer.alloc(15)])
  refused({ qe: { mrSigner: Buffer.alloc(32, 1) } }, 'qe-identity', 'MRSIGNER')
  refused({ qe: { isvProdId: 1 } }, 'qe-identity', 'ISVPRODID')
  refused({ qe: { miscSelect: 1 } }, 'qe-identity', 'MISCSELECT')
  refused({ qe: { attributes: attributes(0x01) } }, 'qe-identity', 'ATTRIBUTES')
  refused({ qe: { attributes: attributes(0x13) } }, 'qe-identity', 'debug')
  refused({ qeVendorId: Buffer.alloc(16) }, 'qe-identity', 'vendor')
  const binding = attempt({ quote: { qe: { attributes: attributes(0x15) } } })
  t.ok(binding, 'a bit that the mask leaves out may be set')
})

t.test('a signed QE identity counts, not the pinned one', async (t) => {
  const collateral = { qeIdentity: qeIdentity({ isvprodid: 3 }) }
  t.ok(attempt({ quote: { qe: { isvProdId: 3 } }, collateral }))
  refusesToVerify(t, () => attempt({ quote: { qe: { isvProdId: 2 } }, collateral }), 'qe-identity')
})

t.test('a debugged enclave is refused whatever the signed identity allows', async (t) => {
  const lax = qeIdentity({ attributes: '00'.repeat(16), attributesMask: '00'.repeat(16) })
  const quote: QuoteSpec = { qe: { attributes: Buffer.from([0x03, ...Buffer.alloc(15)]) } }
  refusesToVerify(t, () => attempt({ quote, collateral: { qeIdentity: lax } }), 'qe-identity')
})

t.test('the attestation key and what it signed', async (t) => {
  const bodySigner = ecKeyPair('P-256')
  refusesToVerify(t, () => attempt({ quote: { bodySigner } }), 'quote-signature', 'by another key')
  const offCurve = Buffer.alloc(64, 1)
  refusesToVerify(t, () => attempt({ quote: { attestationKey: offCurve } }), 'bad-signing-key', 'no point')
  const quote = makeTdxQuote(good)
  quote.fill(0, 48 + 584 + 4, 48 + 584 + 4 + 64)
  const options = { at: SIMULATED_TIME, root: good.root }
  refusesToVerify(t, () => verifyTdxQuote(quote, undefined, options), 'quote-signature', 'r and s of zero')
})

t.test('the TDX module', async (t) => {
  const refused = (options: Attempt, name: string) =>
    refusesToVerify(t, () => attempt(options), 'module-identity', name)
  for (const without of [[], NOTHING]) {
    refused({ without, quote: { body: { mrSignerSeam: Buffer.alloc(48, 1) } } }, 'another signer')
    refused(
      { without, quote: { body: { seamAttributes: Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) } } },
      'attributes',
    )
  }
  const unknown = Uint8Array.from([6, 2, 3, ...Buffer.alloc(13)])
  refused({ quote: { body: { teeTcbSvn: unknown } } }, 'a family that the TCB info lacks')
  const other = { ...moduleIdentityOf('TDX_01', componentLevel(1)), mrsigner: '01'.repeat(48) }
  refused(
    { collateral: { tcbInfo: tcbInfo({ tdxModuleIdentities: [other] }) } },
    'a family of another signer',
  )
  const unmasked = { ...moduleIdentityOf('TDX_01', componentLevel(1)), attributesMask: '00'.repeat(8) }
  const collateral = { tcbInfo: tcbInfo({ tdxModuleIdentities: [unmasked] }) }
  const body = { seamAttributes: Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) }
  refused({ collateral, quote: { body } }, 'attributes that a mask leaves out')
})

t.test('collateral of another platform, another time, another signer', async (t) => {
  const refused = (
    collateral: CollateralSpec,
    code: Parameters<typeof refusesToVerify>[2],
    name: string = code,
  ) => refusesToVerify(t, () => attempt({ collateral }), code, name)
  refused({ tcbInfo: tcbInfo({ fmspc: '000000000000' }) }, 'fmspc-mismatch')
  refused({ tcbInfo: tcbInfo({ pceId: '0100' }) }, 'pce-mismatch')
  const old = { issueDate: '2025-05-01T00:00:00Z', nextUpdate: '2025-06-30T23:59:59Z' }
  const early = { issueDate: '2025-07-01T00:00:01Z' }
  refused({ tcbInfo: tcbInfo(old) }, 'collateral-expired', 'TCB info')
  refused({ qeIdentity: qeIdentity(old) }, 'collateral-expired', 'QE identity')
  refused({ tcbInfo: tcbInfo(early) }, 'collateral-not-yet-valid', 'TCB info')
  refused({ qeIdentity: qeIdentity(early) }, 'collateral-not-yet-valid', 'QE identity')
  refused({ signer: good.keys.pck }, 'collateral-signature', 'by the PCK')
  refused({ signer: ecKeyPair('P-256') }, 'collateral-signature', 'by a stranger')
  refusesToVerify(
    t,
    () => attempt({ without: ['signingChain'] }),
    'collateral-signature',
    'no certificate for it',
  )
})

t.test('what signs collateral has that name, the root for an issuer, and a time', async (t) => {
  const refused = (
    tcbSigning: Parameters<typeof makeTdxPki>[0],
    code: Parameters<typeof refusesToVerify>[2],
  ) => refusesToVerify(t, () => attempt({ pki: makeTdxPki(tcbSigning) }), code, code)
  refused({ tcbSigning: { subject: commonNameOf('SIMULATED SGX PCK Certificate') } }, 'collateral-signature')
  refused({ tcbSigning: { signer: ecKeyPair('P-256') } }, 'certificate-signature')
  refused({ tcbSigning: { notAfter: new Date('2025-06-01') } }, 'expired')
  const { pckAuthority } = good.keys
  const below = { issuer: commonNameOf('SIMULATED SGX PCK Platform CA'), signer: pckAuthority }
  refused({ tcbSigning: below }, 'endorsement-missing')
  refused({ tcbSigning: { extensions: [authority(), keyUsageBits(5)] } }, 'bad-certificate')
})

t.test('an old document beside the current one does not hide it', async (t) => {
  const files = collateralFiles(good, { tcbInfo: tcbInfo({ nextUpdate: '2025-06-30T00:00:00Z' }) })
  for (const order of ['first', 'last'] as const) {
    const parts = [parseTdxCollateral(files.tcbInfo), collateralOf(good)]
    const collateral = mergeTdxCollateral(...(order === 'first' ? parts : parts.reverse()))
    const verified = verifyTdxQuote(makeTdxQuote(good), collateral, { at: SIMULATED_TIME, root: good.root })
    t.equal(verified.tcb?.status, 'UpToDate', order)
  }
})

t.test('a signature that is right for other bytes is right for nothing else', async (t) => {
  const text = JSON.stringify(tcbInfo({ fmspc: '000000000000' }))
  const signature = rawSignature(Buffer.from(text), good.keys.tcbSigning).toString('hex')
  const forged = Buffer.from(`{"tcbInfo":${JSON.stringify(tcbInfo())},"signature":"${signature}"}`)
  const collateral = mergeTdxCollateral(collateralOf(good, {}, ['tcbInfo']), parseTdxCollateral(forged))
  const options = { at: SIMULATED_TIME, root: good.root }
  refusesToVerify(t, () => verifyTdxQuote(makeTdxQuote(good), collateral, options), 'collateral-signature')
})
