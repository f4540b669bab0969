/** What one certificate must be for its place in a path: RFC 5280, 6.1.3 to 6.1.5. */
import { VerifyError } from '../../base/errors.ts'
import { type Curve, keyText } from '../../formats/public-key-info.ts'
import { type Certificate, nameText } from '../../formats/x509.ts'
import {
  basicConstraints,
  EXTENSION,
  extendedKeyUsage,
  type KeyUsage,
  keyUsage,
} from '../../formats/x509-extensions.ts'

/** What the use of the leaf demands. Absent: anything goes. RFC 5280, 4.2.1.3 and 4.2.1.12. */
export interface LeafRequirements {
  readonly curve?: Curve
  /** Must be allowed where the certificate restricts its key's usage at all. */
  readonly keyUsage?: KeyUsage
  /** An OID that must be among the purposes; anyExtendedKeyUsage does not stand for it. */
  readonly extendedKeyUsage?: string
}

/** The critical extensions whose demands are met below, or that demand nothing of a verifier. */
const UNDERSTOOD: readonly string[] = [
  EXTENSION.basicConstraints,
  EXTENSION.keyUsage,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectKeyIdentifier,
  EXTENSION.authorityKeyIdentifier,
  EXTENSION.crlDistributionPoints,
  EXTENSION.subjectAltName,
]

/** A period and the time that must lie within it, both ends included: RFC 5280, 4.1.2.5. */
export interface Validity {
  readonly notBefore: Date
  readonly notAfter: Date
  readonly at: Date
  /** Whose it is; called for the message alone. */
  readonly what: () => string
}

/** VerifyError 'not-yet-valid' or 'expired'; both ends are still valid: RFC 5280, 4.1.2.5. */
export function checkValidity({ notBefore, notAfter, at, what }: Validity): void {
  // Negated, so that an invalid date is never within.
  if (!(at >= notBefore)) throw outside('not-yet-valid', `not before ${text(notBefore)}`)
  if (!(at <= notAfter)) throw outside('expired', `not after ${text(notAfter)}`)

  function outside(code: 'not-yet-valid' | 'expired', expected: string): VerifyError {
    const problem = code === 'expired' ? 'has expired' : 'is not yet valid'
    return new VerifyError(`cannot accept ${what()}: it ${problem}`, { code, expected, got: text(at) })
  }
}

function text(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'an invalid time' : date.toISOString()
}

/**
 * A critical extension that is not understood makes a certificate unusable (4.2). VerifyError 'bad-certificate': RFC
 * 5280, 4.2.
 */
export function checkPlainExtensions(certificate: Certificate): void {
  const unknown = certificate.extensions.find(({ oid, critical }) => critical && !UNDERSTOOD.includes(oid))
  if (unknown)
    throw unfit(certificate, {
      expected: 'only critical extensions that are understood',
      got: `the critical extension ${unknown.oid}`,
    })
}

/**
 * Whether it may issue certificates with `below` more authorities between it and the leaf. VerifyError
 * 'bad-certificate', also FormatError for a malformed extension: RFC 5280, 4.2.1.9 and 4.2.1.3.
 */
export function checkMayIssue(certificate: Certificate, { below }: { readonly below: number }): void {
  const constraints = basicConstraints(certificate)
  if (!constraints?.ca)
    throw unfit(certificate, { expected: 'an authority (basicConstraints, cA true)', got: 'no authority' })
  const { pathLength } = constraints
  if (pathLength !== undefined && below > pathLength)
    throw unfit(certificate, {
      expected: `at most ${pathLength} authorities below it (pathLenConstraint)`,
      got: String(below),
    })
  checkUsage(certificate, 'keyCertSign')
}

/** VerifyError 'bad-certificate' where keyUsage is there and lacks `usage`: RFC 5280, 4.2.1.3. */
export function checkUsage(certificate: Certificate, usage: KeyUsage): void {
  const allowed = keyUsage(certificate)
  if (allowed && !allowed.has(usage))
    throw unfit(certificate, { expected: `key usage ${usage}`, got: [...allowed].join(', ') || 'none' })
}

/** VerifyError 'bad-certificate' where the leaf is not what its use demands: RFC 5280, 4.2.1.3 and 4.2.1.12. */
export function checkLeaf(leaf: Certificate, require: LeafRequirements): void {
  const { publicKey } = leaf
  if (require.curve !== undefined && !(publicKey.kind === 'ec' && publicKey.curve === require.curve))
    throw unfit(leaf, { expected: `a key on the curve ${require.curve}`, got: keyText(publicKey) })
  if (require.keyUsage !== undefined) checkUsage(leaf, require.keyUsage)
  if (require.extendedKeyUsage === undefined) return
  const purposes = extendedKeyUsage(leaf)
  if (!purposes?.includes(require.extendedKeyUsage))
    throw unfit(leaf, {
      expected: `extended key usage ${require.extendedKeyUsage}`,
      got: purposes?.join(', ') ?? 'no extended key usage',
    })
}

function unfit(
  certificate: Certificate,
  { expected, got }: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(
    `cannot use the certificate of "${nameText(certificate.subject)}": it must have ${expected}, it has ${got}`,
    { code: 'bad-certificate', expected, got },
  )
}
