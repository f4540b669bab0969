import { digest, equalBytes } from '../../base/digest.ts'
import { type Finding, VerifyError } from '../../base/errors.ts'
import { parseTdxQuote, type TdxQuote } from '../../formats/tdx/quote.ts'
import type { Certificate } from '../../formats/x509.ts'
import { type VerifiedChain, verifyChain } from '../certificates/chain.ts'
import { checkRevocation } from '../certificates/revocation.ts'
import { keyObject } from '../certificates/signature.ts'
import { NO_COLLATERAL, type TdxCollateral } from './collateral.ts'
import { carriedCertificates, hasSgxExtension, type PckIdentity, readPckIdentity } from './pck.ts'
import { type QeIdentityRules, qeMismatch } from './qe-identity.ts'
import { INTEL_TDX_ROOT, type TdxRoot } from './root.ts'
import { hasSigned, p256Key } from './signatures.ts'
import { evaluateTcb, type TdxTcb } from './tcb-status.ts'
import { checkModule, verifyCollateral } from './verify-collateral.ts'

/** Time and root of a verification: RFC 5280, 6.1.1. */
export interface TdxVerification {
  /** The time at which everything must be valid; no clock is read. */
  readonly at: Date
  /** Default Intel's. */
  readonly root?: TdxRoot
}

/**
 * Made by verifyTdxQuote alone: every byte of `quote.signedBytes` is vouched for by `root`. Intel TDX DCAP Quoting
 * Library API, "Quote Format".
 */
export interface VerifiedTdxQuote {
  readonly quote: TdxQuote
  readonly root: TdxRoot
  /** The PCK certificate and its authority's, which the root's key signed. */
  readonly pckChain: readonly Certificate[]
  readonly pck: PckIdentity
  /** Undefined where TCB info or QE identity was not given: then nothing is known about vulnerabilities. */
  readonly tcb: TdxTcb | undefined
  /** Lowest of the numbers of the documents used: how recent an assessment the status rests on. */
  readonly evaluationDataNumber: number | undefined
  /** When the older of the documents used was issued. */
  readonly collateralIssued: Date | undefined
  /**
   * What was not checked for want of collateral, with codes 'collateral-missing' and 'crl-missing'; and
   * 'collateral-inconsistent' for documents of different evaluations. A strict appraisal accepts none of them.
   */
  readonly findings: readonly Finding[]
}

/**
 * Verifies a quote: Intel SGX and TDX DCAP Quote Verification Library, 4.1.2.4, in the order of what depends on what.
 * Authentic means: the attestation key signed header and body; a quoting enclave of the vendor bound that key; the PCK
 * of a platform signed for the enclave; the PCK's chain ends in `root`; all valid at `at`. Collateral may be partial or
 * absent: what is there must be right, what is missing is in `findings`.
 *
 * Throws FormatError for malformed bytes and VerifyError at the first break: those of verifyChain; 'qe-signature',
 * 'qe-binding', 'qe-identity', 'bad-signing-key', 'quote-signature', 'module-identity'; for collateral
 * 'collateral-signature', 'collateral-expired', 'collateral-not-yet-valid', 'fmspc-mismatch', 'pce-mismatch'.
 */
export function verifyTdxQuote(
  quote: TdxQuote | Uint8Array,
  collateral: TdxCollateral = NO_COLLATERAL,
  { at, root = INTEL_TDX_ROOT }: TdxVerification,
): VerifiedTdxQuote {
  const parsed = quote instanceof Uint8Array ? parseTdxQuote(quote) : quote
  const chain = verifyPckChain(parsed, collateral, { at, root })
  const pck = readPckIdentity(chain.leaf)
  const { tcbInfo, qeIdentity, findings } = verifyCollateral(collateral, { at, root, pck })
  const { checked } = checkRevocation({ ...chain, at, crls: collateral.crls, mode: 'where-given' })
  verifyQe(parsed, { chain, root, rules: qeIdentity ?? root.qe })
  verifyQuoteSignature(parsed)
  checkModule(parsed.body, { tcbInfo, pinned: root.module })
  const tcb =
    tcbInfo &&
    qeIdentity &&
    evaluateTcb({ body: parsed.body, qeIsvSvn: parsed.qeReport.isvSvn, pck, tcbInfo, qeIdentity })
  const documents = [tcbInfo, qeIdentity].flatMap((document) => document ?? [])
  const numbers = documents.map((document) => document.evaluationDataNumber)
  const issued = documents.map(({ issueDate }) => issueDate.getTime())
  return {
    ...{ quote: parsed, root, pckChain: chain.path, pck, tcb },
    evaluationDataNumber: numbers.length > 0 ? Math.min(...numbers) : undefined,
    collateralIssued: issued.length > 0 ? new Date(Math.min(...issued)) : undefined,
    findings: [...findings, ...revocationFindings(chain, checked)],
  }
}

/** PCK certificates are issued by the root's processor or platform authority, never deeper. */
const PCK_PATH_LENGTH = 2

type Context = Required<TdxVerification>

function verifyPckChain(quote: TdxQuote, collateral: TdxCollateral, { at, root }: Context): VerifiedChain {
  const carried = carriedCertificates(quote)
  const leaf = carried[0] ?? pckAmong(collateral.certificates, quote)
  const chain = verifyChain({
    leaf,
    certificates: withoutRepetition([...carried.slice(1), ...collateral.certificates]),
    anchors: [root.anchor],
    at,
    require: { curve: 'P-256', keyUsage: 'digitalSignature' },
  })
  if (chain.path.length !== PCK_PATH_LENGTH) {
    throw new VerifyError('cannot trust the PCK certificate: its authority is not directly below the root', {
      code: 'bad-chain',
      expected: `${PCK_PATH_LENGTH} certificates below the root`,
      got: String(chain.path.length),
    })
  }
  return chain
}

/** Documents bring the same chains again and again, and a path is looked for among a limited number. */
function withoutRepetition(certificates: readonly Certificate[]): readonly Certificate[] {
  const byBytes = certificates.map((certificate) => [hex(certificate.raw), certificate] as const)
  return [...new Map(byBytes).values()]
}

/** For a quote that only names its PCK: the certificate whose key signed the QE's report. */
function pckAmong(certificates: readonly Certificate[], quote: TdxQuote): Certificate {
  const found = certificates.find(
    (certificate) =>
      hasSgxExtension(certificate) &&
      certificate.publicKey.kind === 'ec' &&
      hasSigned(keyObject(certificate.publicKey), quote.qeReportBytes, quote.qeReportSignature),
  )
  if (found) return found
  throw new VerifyError(
    'cannot verify the TDX quote: neither it nor the collateral has its PCK certificate',
    {
      code: 'endorsement-missing',
      expected: 'a PCK certificate chain (certification data type 5)',
      got: `certification data type ${quote.certificationData.type}`,
    },
  )
}

interface QeContext {
  readonly chain: VerifiedChain
  readonly root: TdxRoot
  readonly rules: QeIdentityRules
}

function verifyQe(quote: TdxQuote, { chain, root, rules }: QeContext): void {
  const { header, qeReport, qeReportBytes, qeReportSignature } = quote
  if (!hasSigned(keyObject(chain.leaf.publicKey), qeReportBytes, qeReportSignature)) {
    throw new VerifyError('cannot trust the quoting enclave: the PCK did not sign its report', {
      code: 'qe-signature',
      expected: 'a signature by the key of the PCK certificate',
      got: 'one that does not verify',
    })
  }
  verifyBinding(quote)
  const vendor = hex(header.qeVendorId)
  const expectedVendor = hex(root.qeVendorId)
  const mismatch =
    vendor === expectedVendor
      ? qeMismatch(qeReport, rules)
      : { field: 'QE Vendor ID', expected: expectedVendor, got: vendor }
  if (mismatch === undefined) return
  throw new VerifyError(`cannot trust the quoting enclave: ${mismatch.field} is not that of the vendor's`, {
    code: 'qe-identity',
    expected: `${mismatch.field} ${mismatch.expected}`,
    got: mismatch.got,
  })
}

/** REPORTDATA of the QE is SHA-256 over attestation key and authentication data, then 32 zero bytes. */
function verifyBinding({ attestationKey, qeAuthenticationData, qeReport }: TdxQuote): void {
  const expected = Buffer.concat([digest('sha256', attestationKey, qeAuthenticationData), Buffer.alloc(32)])
  if (equalBytes(expected, qeReport.reportData)) return
  throw new VerifyError('cannot trust the attestation key: the quoting enclave did not bind it', {
    code: 'qe-binding',
    expected: `QE REPORTDATA ${hex(expected)}`,
    got: hex(qeReport.reportData),
  })
}

function verifyQuoteSignature({ attestationKey, signedBytes, signature }: TdxQuote): void {
  if (hasSigned(p256Key(attestationKey), signedBytes, signature)) return
  throw new VerifyError('cannot trust the TDX quote: the attestation key did not sign header and body', {
    code: 'quote-signature',
    expected: 'a signature by the attestation key',
    got: 'one that does not verify',
  })
}

function revocationFindings({ path }: VerifiedChain, checked: number): readonly Finding[] {
  if (checked === path.length) return []
  return [
    {
      code: 'crl-missing',
      message: 'the revocation of the PCK certificate and of its authority was not checked',
      expected: `revocation lists for ${path.length} certificates`,
      got: `for ${checked}`,
    },
  ]
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
