/**
 * Which endorsements a pinned root vouches for, by signatures alone: what may enter a cache, and leave it. A forged one
 * under the name of a real one could make nothing authentic, but everything refused. Whether one is valid at a time,
 * revoked, or fits a piece of evidence is for verification.
 */
import { sha256Hex } from '../../base/digest.ts'
import { FormatError, VerifyError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import { type Certificate, commonName } from '../../formats/x509.ts'
import { isIssuedBy, type TrustAnchor, trustAnchor, verifyChain } from '../certificates/chain.ts'
import { isSignedBy, keyObject } from '../certificates/signature.ts'
import { AMD_ROOTS } from '../snp/roots.ts'
import { INTEL_TDX_ROOT } from '../tdx/root.ts'
import { hasSigned } from '../tdx/signatures.ts'
import type { SignedDocument } from '../tdx/signed-document.ts'
import { TCB_SIGNING } from '../tdx/verify-collateral.ts'
import type { CacheEntry } from './cache-key.ts'

/** Where issuers and roots are. */
export interface VouchContext {
  /** Where issuers are looked for, besides among the entries themselves. */
  readonly beside: readonly Certificate[]
  /** SHA-256 of SubjectPublicKeyInfo, hex: roots of emulated TEEs that a policy names. */
  readonly simulatedRoots: readonly string[]
}

/** Entries in their order, by whether a root vouches for them. */
export interface Vouched {
  readonly vouched: readonly CacheEntry[]
  readonly refused: readonly CacheEntry[]
}

/**
 * Signatures alone: RFC 5280, 6.1.3 and 6.3.3; Intel PCS API v4. Never throws for what an entry is. The work is bounded
 * by the number of entries with an issuer's name.
 */
export function sortOutVouched(
  entries: readonly CacheEntry[],
  { beside, simulatedRoots }: VouchContext,
): Vouched {
  const certificates = [...certificatesOf(entries), ...beside]
  const trust = { certificates, anchors: anchorsFor(certificates, simulatedRoots) }
  const vouched = entries.filter((entry) => isVouchedFor(entry, trust))
  return { vouched, refused: entries.filter((entry) => !vouched.includes(entry)) }
}

/** The certificates among entries. Each was parsed before. Never throws. */
export function certificatesOf(entries: readonly CacheEntry[]): readonly Certificate[] {
  return entries.flatMap(({ content }) => (content.kind === 'certificate' ? [content.certificate] : []))
}

interface Trust {
  readonly certificates: readonly Certificate[]
  readonly anchors: readonly TrustAnchor[]
}

function anchorsFor(
  certificates: readonly Certificate[],
  simulatedRoots: readonly string[],
): readonly TrustAnchor[] {
  const named = certificates.filter(({ publicKey }) => simulatedRoots.includes(sha256Hex(publicKey.raw)))
  const simulated = named.flatMap(
    (certificate) => attempt(() => trustAnchor(certificate, 'SIMULATED root')) ?? [],
  )
  return [...AMD_ROOTS.map(({ anchor }) => anchor), INTEL_TDX_ROOT.anchor, ...simulated]
}

function isVouchedFor({ content }: CacheEntry, trust: Trust): boolean {
  switch (content.kind) {
    case 'certificate':
      return isCertificateVouchedFor(content.certificate, trust)
    case 'list':
      return isListVouchedFor(content.list, trust)
    case 'document':
      return isDocumentVouchedFor(content.document, trust)
  }
}

function isCertificateVouchedFor(certificate: Certificate, { certificates, anchors }: Trust): boolean {
  const issuers = issuersOf(certificate, certificates)
  // Issuers are renewed and keep their keys: one of the ends of the certificate's own time is within theirs.
  return [certificate.notBefore, certificate.notAfter].some((at) =>
    attempt(() => verifyChain({ leaf: certificate, certificates: issuers, anchors, at })),
  )
}

/** As many as any vendor has. */
const MAX_LEVELS = 4

/**
 * Those whose keys signed, level by level: strangers of the same name are none. At most as many levels as a path may
 * have (RFC 5280, 6.1). Never throws for a stranger.
 */
export function issuersOf(leaf: Certificate, certificates: readonly Certificate[]): readonly Certificate[] {
  const found = new Set<Certificate>()
  let level: readonly Certificate[] = [leaf]
  for (let depth = 0; depth < MAX_LEVELS; depth++) {
    level = certificates.filter(
      (candidate) => !found.has(candidate) && level.some((each) => hasIssued(candidate, each)),
    )
    for (const each of level) found.add(each)
  }
  return [...found]
}

function hasIssued({ subject, publicKey }: Certificate, certificate: Certificate): boolean {
  return attempt(() => isIssuedBy(certificate, subject.raw, publicKey)) === true
}

function isListVouchedFor(list: Crl, trust: Trust): boolean {
  const { signatureAlgorithm: algorithm, tbs: data, signature } = list
  const isNamed = (name: Uint8Array) => Buffer.compare(name, list.issuer.raw) === 0
  const hasSignedList = (publicKey: Certificate['publicKey']) =>
    attempt(() => isSignedBy(publicKey, { algorithm, data, signature })) === true
  const byRoot = trust.anchors.some(({ name, publicKey }) => isNamed(name) && hasSignedList(publicKey))
  return (
    byRoot ||
    trust.certificates.some(
      (issuer) =>
        isNamed(issuer.subject.raw) &&
        hasSignedList(issuer.publicKey) &&
        isCertificateVouchedFor(issuer, trust),
    )
  )
}

function isDocumentVouchedFor({ signedBytes, signature }: SignedDocument<unknown>, trust: Trust): boolean {
  return trust.certificates.some((signer) => {
    const { subject, publicKey } = signer
    if (!commonName(subject)?.includes(TCB_SIGNING)) return false
    if (publicKey.kind !== 'ec' || publicKey.curve !== 'P-256') return false
    const hasIt = attempt(() => hasSigned(keyObject(publicKey), signedBytes, signature)) === true
    return hasIt && isCertificateVouchedFor(signer, trust)
  })
}

/**
 * Undefined where `read` finds something wrong with what it is given. That is: FormatError and VerifyError; anything
 * else is thrown on.
 */
export function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof FormatError || error instanceof VerifyError) return undefined
    throw error
  }
}
