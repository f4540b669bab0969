import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { VerifyError } from '../../base/errors.ts'

/** ECDSA P-256 with SHA-256 as quotes and PCS documents carry it: r and s of 32 bytes each, big-endian, no DER. */

/** SubjectPublicKeyInfo of a P-256 key up to its uncompressed point. */
const SPKI_PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')

/** X and Y, 32 bytes each. Throws VerifyError 'bad-signing-key' for a point that is not on the curve. FIPS 186-5, 6. */
export function p256Key(point: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, point]), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new VerifyError('cannot use the attestation key of the quote: it is no point on P-256', {
      code: 'bad-signing-key',
      expected: 'a point on P-256',
      got: Buffer.from(point).toString('hex'),
      cause,
    })
  }
}

/**
 * ECDSA P-256 with SHA-256; `signature` is r and s, 32 bytes each, big-endian. FIPS 186-5, 6.4.2. Never throws for what
 * was signed.
 */
export function hasSigned(key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}
