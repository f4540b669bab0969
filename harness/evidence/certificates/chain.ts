/**
 * Certification paths, from a leaf to a pinned key: RFC 5280, chapter 6, without policies and name constraints (a
 * critical extension for either is refused). Everything but the anchors, the time and the requirements is the
 * attacker's to choose.
 */
import { VerifyError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import type { PublicKeyInfo } from '../../formats/public-key-info.ts'
import { type Certificate, nameText } from '../../formats/x509.ts'
import {
  checkLeaf,
  checkMayIssue,
  checkPlainExtensions,
  checkValidity,
  type LeafRequirements,
} from './certificate-checks.ts'
import { checkRevocation, type RevocationMode } from './revocation.ts'
import { isSignedBy } from './signature.ts'

/**
 * A vendor's root: its key is what is trusted, its certificate is only believed to be that of the key. RFC 5280, 6.1.1
 * (d).
 */
export interface TrustAnchor {
  /** For people: "AMD ARK-Milan". */
  readonly label: string
  /** The root's subject, as its DER bytes. */
  readonly name: Uint8Array
  readonly publicKey: PublicKeyInfo
  /** Of the root's own certificate. */
  readonly notBefore: Date
  readonly notAfter: Date
}

/**
 * Trusts the root of a private infrastructure, or a simulated one. Throws VerifyError 'bad-certificate' where it may
 * not issue certificates, 'certificate-signature' where it did not sign itself. FormatError for a malformed extension.
 * RFC 5280, 6.1.1 (d).
 */
export function trustAnchor(root: Certificate, label: string): TrustAnchor {
  checkPlainExtensions(root)
  checkMayIssue(root, { below: 0 })
  const { subject, publicKey, notBefore, notAfter } = root
  if (!isIssuedBy(root, subject.raw, publicKey))
    throw new VerifyError(`cannot trust ${quoted(root)}: it is not self-signed`, {
      code: 'certificate-signature',
      expected: 'a signature by its own key',
      got: `the issuer ${nameText(root.issuer)}, or a signature that does not verify`,
    })
  return { label, name: subject.raw, publicKey, notBefore, notAfter }
}

/** What a path is looked for with: RFC 5280, 6.1.1. */
export interface ChainRequest {
  readonly leaf: Certificate
  /** Where issuers are looked for, in any order, at most 64; what does not belong to the path is ignored. */
  readonly certificates: readonly Certificate[]
  readonly anchors: readonly TrustAnchor[]
  /** When the path must be valid; no clock is read. */
  readonly at: Date
  readonly crls?: readonly Crl[]
  /** Default `where-given`: a list that is absent is no error, one that is there must be right. */
  readonly revocation?: RevocationMode
  readonly require?: LeafRequirements
}

declare const verified: unique symbol

/**
 * Made by verifyChain alone. It stays true within its validity, so it can be kept and used for many signatures. RFC
 * 5280, 6.1.
 */
export interface VerifiedChain {
  readonly [verified]: true
  readonly leaf: Certificate
  /** The leaf, its issuer, and so on; the anchor's key signed the last one. */
  readonly path: readonly Certificate[]
  readonly anchor: TrustAnchor
  /** From the latest beginning to the earliest end of certificates, anchor and lists: both ends included. */
  readonly notBefore: Date
  readonly notAfter: Date
  /** For how many of the path's certificates a current list of their issuer was looked at. */
  readonly revocationChecked: number
  /** When the oldest list that was looked at was issued; undefined where there was none. */
  readonly listsIssued: Date | undefined
}

/** As many as any of our vendors has, and room for a cross-certificate. */
const MAX_PATH = 8
const MAX_CANDIDATES = 64

/**
 * Finds and verifies the path. Throws VerifyError at its first break: `endorsement-missing` (nothing given that could
 * be the issuer), `bad-chain` (no issuer of that name, too long), `certificate-signature`, `unknown-root`; then from
 * the root to the leaf `not-yet-valid`, `expired`, `bad-certificate`, and those of revocation. RFC 5280, 6.1: at most
 * 64 certificates, a path of at most 8.
 */
export function verifyChain(request: ChainRequest): VerifiedChain {
  const { path, anchor } = findPath(request)
  const { at, crls = [], revocation = 'where-given', require = {} } = request
  checkValidity({ ...anchor, what: () => anchor.label, at })
  // From the root on: what an authority says counts only after it was found to be one.
  const issuers = path.slice(1)
  for (const [index, issuer] of [...issuers.entries()].reverse()) {
    checkOne(issuer, at)
    checkMayIssue(issuer, { below: countBelow(path, index + 1) })
  }
  checkOne(request.leaf, at)
  checkLeaf(request.leaf, require)
  const revocationState = checkRevocation({ path, anchor, at, crls, mode: revocation })
  const starts = [anchor, ...path].map(({ notBefore }) => notBefore)
  const ends = [anchor, ...path].map(({ notAfter }) => notAfter)
  return {
    ...{ leaf: request.leaf, path, anchor },
    notBefore: latest([...starts, ...revocationState.lists.map(({ thisUpdate }) => thisUpdate)]),
    notAfter: earliest([...ends, ...revocationState.lists.map(({ nextUpdate }) => nextUpdate)]),
    revocationChecked: revocationState.checked,
    listsIssued:
      revocationState.lists.length > 0
        ? earliest(revocationState.lists.map(({ thisUpdate }) => thisUpdate))
        : undefined,
  } as unknown as VerifiedChain
}

/**
 * For a chain that was kept: VerifyError 'expired' or 'not-yet-valid' where `at` is outside of what it was verified
 * for. RFC 5280, 4.1.2.5.
 */
export function checkStillValid(chain: VerifiedChain, at: Date): void {
  checkValidity({ ...chain, what: () => `the chain of ${nameText(chain.leaf.subject)}`, at })
}

function checkOne(certificate: Certificate, at: Date): void {
  checkValidity({ ...certificate, what: () => quoted(certificate), at })
  checkPlainExtensions(certificate)
}

/** Certificates of authorities between the one at `index` and the leaf; self-issued ones do not count (4.2.1.9). */
function countBelow(path: readonly Certificate[], index: number): number {
  return path.slice(1, index).filter((certificate) => !isSelfIssued(certificate)).length
}

interface Path {
  readonly path: readonly Certificate[]
  readonly anchor: TrustAnchor
}

/**
 * Names and signatures only, one issuer after the other. Among several that fit, those valid at the time come first,
 * and the first whose key signed is taken: there is no way back, so the work is at most MAX_PATH times MAX_CANDIDATES
 * signatures.
 */
function findPath({ leaf, certificates, anchors, at }: ChainRequest): Path {
  if (certificates.length > MAX_CANDIDATES)
    throw new VerifyError(`cannot verify ${quoted(leaf)}: too many certificates`, {
      code: 'bad-chain',
      expected: `at most ${MAX_CANDIDATES} certificates`,
      got: String(certificates.length),
    })
  const path = [leaf]
  let current = leaf
  while (path.length <= MAX_PATH) {
    const anchor = anchors.find((candidate) => isIssuedBy(current, candidate.name, candidate.publicKey))
    if (anchor) return { path, anchor }
    const issuer = findIssuer(current, { certificates, anchors, at, path })
    path.push(issuer)
    current = issuer
  }
  throw new VerifyError(`cannot verify ${quoted(leaf)}: its path is too long`, {
    code: 'bad-chain',
    expected: `at most ${MAX_PATH} certificates`,
    got: `more than ${MAX_PATH}`,
  })
}

interface Search extends Pick<ChainRequest, 'certificates' | 'anchors' | 'at'> {
  readonly path: readonly Certificate[]
}

function findIssuer(current: Certificate, { certificates, anchors, at, path }: Search): Certificate {
  const named = certificates.filter(({ subject }) => sameBytes(subject.raw, current.issuer.raw))
  const fresh = named.filter(({ raw }) => !path.some((used) => sameBytes(used.raw, raw)))
  const validFirst = fresh.toSorted((a, b) => Number(isValid(b, at)) - Number(isValid(a, at)))
  const failures: VerifyError[] = []
  const issuer = validFirst.find(({ subject, publicKey }) => {
    try {
      return isIssuedBy(current, subject.raw, publicKey)
    } catch (error) {
      // A stranger with the issuer's name and a key of another kind must not hide the issuer.
      if (!(error instanceof VerifyError)) throw error
      failures.push(error)
      return false
    }
  })
  if (issuer) return issuer
  throw failures[0] ?? noIssuer(current, { certificates, anchors, hasNamed: fresh.length > 0 })
}

function noIssuer(
  current: Certificate,
  { certificates, anchors, hasNamed }: Pick<ChainRequest, 'certificates' | 'anchors'> & { hasNamed: boolean },
): VerifyError {
  const pinned = anchors.map(({ label }) => label).join(', ')
  const issuer = nameText(current.issuer)
  if (isSelfIssued(current))
    return new VerifyError(`cannot trust ${quoted(current)}: its key is no pinned root's`, {
      code: 'unknown-root',
      expected: `a path to ${pinned}`,
      got: `the root ${issuer} with another key`,
    })
  const nameIsPinned = anchors.some(({ name }) => sameBytes(name, current.issuer.raw))
  if (hasNamed || nameIsPinned)
    return new VerifyError(`cannot verify ${quoted(current)}: the key of its issuer did not sign it`, {
      code: 'certificate-signature',
      expected: `a signature by ${issuer}`,
      got: 'one that does not verify',
    })
  if (certificates.length === 0)
    return new VerifyError(`cannot verify ${quoted(current)}: no certificate of its issuer was given`, {
      code: 'endorsement-missing',
      expected: `the certificate of ${issuer}`,
      got: 'none',
    })
  return new VerifyError(`cannot verify ${quoted(current)}: no given certificate is its issuer's`, {
    code: 'bad-chain',
    expected: `the certificate of ${issuer}`,
    got: certificates.map(({ subject }) => nameText(subject)).join('; '),
  })
}

/**
 * Whether the key signed the certificate and the name is its issuer's; the name first: a signature costs a thousand
 * times as much. Throws VerifyError 'bad-certificate' where key and algorithm do not fit. RFC 5280, 6.1.3 (a)(1) and
 * (a)(4).
 */
export function isIssuedBy(certificate: Certificate, name: Uint8Array, publicKey: PublicKeyInfo): boolean {
  if (!sameBytes(certificate.issuer.raw, name)) return false
  const { signatureAlgorithm: algorithm, tbs: data, signature } = certificate
  return isSignedBy(publicKey, { algorithm, data, signature })
}

const isSelfIssued = ({ subject, issuer }: Certificate): boolean => sameBytes(subject.raw, issuer.raw)
const isValid = ({ notBefore, notAfter }: Certificate, at: Date): boolean => notBefore <= at && at <= notAfter
const sameBytes = (left: Uint8Array, right: Uint8Array): boolean => Buffer.compare(left, right) === 0
const quoted = ({ subject }: Certificate): string => `the certificate of "${nameText(subject)}"`

const latest = (dates: readonly Date[]): Date => new Date(Math.max(...dates.map(Number)))
const earliest = (dates: readonly Date[]): Date => new Date(Math.min(...dates.map(Number)))
