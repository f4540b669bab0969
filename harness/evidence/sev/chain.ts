/**
 * The chain of an SEV or SEV-ES platform: ARK, ASK, CEK, PEK, PDH, and the owner's OCA beside the CEK. AMD 55766
 * revision 3.24, appendices B.3 and C.3. No validity and no revocation exist. What is certified at the end is the PDH,
 * with which the guest's owner agrees on the keys of a launch.
 */
import { constants, createPublicKey, verify } from 'node:crypto'
import { sha256Hex } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import type { SevAuthority, SevPlatformCertificate, SevRole } from '../../formats/sev/certificate.ts'
import { isEcdsaSignedBy } from '../certificates/signature.ts'

/**
 * SHA-256 of all that an ARK signs of itself: version, ids, usage, exponent, modulus. 32 bytes in hex: AMD 55766,
 * appendix B.
 */
export interface SevRoot {
  readonly label: string
  readonly digest: string
}

/** Key id 1bb987c3-5949-4606-b174-945601c9ea5b. Rome and later speak SNP's X.509 too; they are not pinned here. */
export const AMD_SEV_ROOTS: readonly SevRoot[] = [
  { label: 'AMD ARK, Naples', digest: '8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31' },
]

/** A chain of certificates from before X.509: AMD 55766 (SEV API). */
export interface SevChain {
  readonly ark: SevAuthority
  readonly ask: SevAuthority
  readonly cek: SevPlatformCertificate
  readonly oca: SevPlatformCertificate
  readonly pek: SevPlatformCertificate
  readonly pdh: SevPlatformCertificate
}

/**
 * Throws VerifyError 'unknown-root', 'bad-chain' (a certificate in another's place), 'certificate-signature'. AMD
 * 55766, certificate formats; RSA 2048 or 4096, P-384.
 */
export function verifySevChain(chain: SevChain, roots: readonly SevRoot[] = AMD_SEV_ROOTS): void {
  const { ark, ask, cek, oca, pek, pdh } = chain
  for (const role of ['ark', 'ask', 'cek', 'oca', 'pek', 'pdh'] as const) checkRole(role, chain[role].role)
  const digest = sha256Hex(ark.signed)
  if (!roots.some((root) => root.digest === digest))
    throw failure('unknown-root', 'the ARK is no pinned one', {
      expected: roots.map((root) => root.label).join(', ') || 'a pinned ARK',
      got: digest,
    })
  checkAuthority(ark, ark)
  checkAuthority(ask, ark)
  checkPlatform(cek, 'ask', (signature) => signature.kind === 'rsa' && rsaSigned(cek.signed, ask, signature))
  checkPlatform(oca, 'oca', ecdsaBy(oca, oca))
  checkPlatform(pek, 'oca', ecdsaBy(pek, oca))
  checkPlatform(pek, 'cek', ecdsaBy(pek, cek))
  checkPlatform(pdh, 'pek', ecdsaBy(pdh, pek))
}

function checkRole(expected: SevRole, got: SevRole): void {
  if (expected !== got)
    throw failure('bad-chain', 'a certificate stands in the place of another', { expected, got })
}

function checkAuthority(subject: SevAuthority, issuer: SevAuthority): void {
  if (subject.certifyingKeyId !== issuer.keyId)
    throw failure('bad-chain', `the ${subject.role} names another issuer`, {
      expected: issuer.keyId,
      got: subject.certifyingKeyId,
    })
  const hash = issuer.bits === 2048 ? 'sha256' : 'sha384'
  if (
    subject.signature.length !== issuer.bits / 8 ||
    !rsaVerify(issuer, { hash, data: subject.signed, signature: subject.signature })
  )
    throw unsigned(subject.role, issuer.role)
}

type Signature = SevPlatformCertificate['signatures'][number]

/** One of the certificate's signatures is by `by`, and it holds. */
function checkPlatform(
  { role, signatures }: SevPlatformCertificate,
  by: SevRole,
  holds: (signature: Signature) => boolean,
): void {
  if (!signatures.some((signature) => signature.by === by && holds(signature))) throw unsigned(role, by)
}

function ecdsaBy(
  subject: SevPlatformCertificate,
  issuer: SevPlatformCertificate,
): (signature: Signature) => boolean {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
  return (signature) => {
    if (signature.kind !== 'ecdsa') return false
    try {
      const { x, y } = issuer.key
      const key = createPublicKey({ key: { kty: 'EC', crv: 'P-384', x: text(x), y: text(y) }, format: 'jwk' })
      return isEcdsaSignedBy(key, { hash: signature.hash, data: subject.signed, ...signature.value })
    } catch {
      // Not a point of the curve: no key, so nothing that it could have signed.
      return false
    }
  }
}

function rsaSigned(
  data: Uint8Array,
  issuer: SevAuthority,
  { hash, littleEndian }: Extract<Signature, { kind: 'rsa' }>,
): boolean {
  const length = issuer.bits / 8
  if (littleEndian.subarray(length).some((byte) => byte !== 0)) return false
  const signature = Uint8Array.from(littleEndian.subarray(0, length)).reverse()
  return rsaVerify(issuer, { hash, data, signature })
}

interface RsaSigned {
  readonly hash: 'sha256' | 'sha384'
  readonly data: Uint8Array
  readonly signature: Uint8Array
}

/** RSASSA-PSS with a salt as long as the digest (B.2). */
function rsaVerify({ modulus, exponent }: SevAuthority, { hash, data, signature }: RsaSigned): boolean {
  const text = (bytes: Uint8Array): string => {
    const start = bytes.findIndex((byte) => byte !== 0)
    return Buffer.from(bytes.subarray(Math.max(0, start))).toString('base64url')
  }
  const key = createPublicKey({ key: { kty: 'RSA', n: text(modulus), e: text(exponent) }, format: 'jwk' })
  const saltLength = hash === 'sha256' ? 32 : 48
  return verify(hash, data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signature)
}

function unsigned(role: SevRole, by: SevRole): VerifyError {
  return failure('certificate-signature', `the ${by} did not sign the ${role}`, {
    expected: `a signature by the ${by}`,
    got: 'none that verifies',
  })
}

function failure(
  code: 'unknown-root' | 'bad-chain' | 'certificate-signature',
  problem: string,
  { expected, got }: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(`cannot verify the SEV chain: ${problem}`, { code, expected, got })
}
