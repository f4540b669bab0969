/**
 * Who launched the guest: the ID block that the owner's key signed, and the author's key that signed the owner's, held
 * against what the firmware put into the report. AMD 56860, SNP_LAUNCH_FINISH.
 */
import { createPublicKey } from 'node:crypto'
import { digest } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import type { EcdsaPublicKey, EcdsaSignature } from '../../formats/snp/ecdsa.ts'
import type { SnpIdAuthentication, SnpIdBlock } from '../../formats/snp/id-block.ts'
import { isEcdsaSignedBy } from '../certificates/signature.ts'
import { inOrder } from './p384.ts'
import type { VerifiedSnpReport } from './verify.ts'

/** What the owner gave to SNP_LAUNCH_FINISH: 96 and 4096 bytes (AMD 56860). */
export interface SnpIdEvidence {
  readonly block: SnpIdBlock
  readonly authentication: SnpIdAuthentication
}

/**
 * Digests are SHA-384 over the 1028 bytes of a key, 48 bytes: what reports and policies name keys by. AMD 56860,
 * ID_KEY_DIGEST and AUTHOR_KEY_DIGEST.
 */
export interface VerifiedIdBlock {
  readonly block: SnpIdBlock
  readonly idKeyDigest: Uint8Array
  /** Absent where no author key was used. */
  readonly authorKeyDigest?: Uint8Array
}

/**
 * Verifies that the report's guest was launched with this ID block. Throws VerifyError 'id-block-signature' where a key
 * did not sign, 'binding-mismatch' where the report has another key, launch digest, family, image, SVN or policy. AMD
 * 56860, "Structure of the ID Block"; ECDSA P-384 with SHA-384 over its 96 bytes, and over the ID key's 1028.
 */
export function verifySnpIdBlock(
  { report }: VerifiedSnpReport,
  { block, authentication: { idKey, idSignature, author } }: SnpIdEvidence,
): VerifiedIdBlock {
  checkSignature(idKey, { signature: idSignature, data: block.raw, what: 'the ID key' })
  if (author)
    checkSignature(author.key, { signature: author.signature, data: idKey.raw, what: 'the author key' })
  const idKeyDigest = digest('sha384', idKey.raw)
  bound('ID_KEY_DIGEST', { expected: idKeyDigest, got: report.idKeyDigest })
  const enabled = report.keyInfo.authorKeyEnabled
  if (enabled !== (author !== undefined))
    throw mismatch('AUTHOR_KEY_EN', { expected: author ? '1' : '0', got: enabled ? '1' : '0' })
  const authorKeyDigest = author && digest('sha384', author.key.raw)
  if (authorKeyDigest) bound('AUTHOR_KEY_DIGEST', { expected: authorKeyDigest, got: report.authorKeyDigest })
  bound('MEASUREMENT', { expected: block.launchDigest, got: report.measurement })
  bound('FAMILY_ID', { expected: block.familyId, got: report.familyId })
  bound('IMAGE_ID', { expected: block.imageId, got: report.imageId })
  if (block.guestSvn !== report.guestSvn)
    throw mismatch('GUEST_SVN', { expected: `${block.guestSvn}`, got: `${report.guestSvn}` })
  if (block.policy !== report.policy.raw)
    throw mismatch('POLICY', { expected: hexNumber(block.policy), got: hexNumber(report.policy.raw) })
  return { block, idKeyDigest, ...(authorKeyDigest && { authorKeyDigest }) }
}

interface Signed {
  readonly signature: EcdsaSignature
  readonly data: Uint8Array
  readonly what: string
}

function checkSignature(key: EcdsaPublicKey, { signature, data, what }: Signed): void {
  if (inOrder(signature.r) && inOrder(signature.s) && isSigned(key, { data, signature })) return
  throw new VerifyError(`cannot verify the ID block: ${what} did not sign`, {
    code: 'id-block-signature',
    expected: `a signature by ${what} ${digest('sha384', key.raw).toString('hex')}`,
    got: 'one that does not verify',
  })
}

function isSigned({ x, y }: EcdsaPublicKey, { data, signature: { r, s } }: Omit<Signed, 'what'>): boolean {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
  try {
    const key = createPublicKey({ key: { kty: 'EC', crv: 'P-384', x: text(x), y: text(y) }, format: 'jwk' })
    return isEcdsaSignedBy(key, { hash: 'sha384', data, r, s })
  } catch {
    // Not a point of the curve: no key, so nothing that it could have signed.
    return false
  }
}

function bound(
  field: string,
  { expected, got }: { readonly expected: Uint8Array; readonly got: Uint8Array },
): void {
  if (Buffer.compare(expected, got) === 0) return
  throw mismatch(field, {
    expected: Buffer.from(expected).toString('hex'),
    got: Buffer.from(got).toString('hex'),
  })
}

function mismatch(
  field: string,
  { expected, got }: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(`cannot bind the ID block to the SNP report: ${field} differs`, {
    code: 'binding-mismatch',
    expected,
    got,
  })
}

const hexNumber = (value: bigint): string => `0x${value.toString(16)}`
