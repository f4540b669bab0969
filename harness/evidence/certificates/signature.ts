/** Signatures over exact bytes, with the keys of certificates; the cryptography is OpenSSL's, through node:crypto. */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { VerifyError } from '../../base/errors.ts'
import { keyText, type PublicKeyInfo } from '../../formats/public-key-info.ts'
import { algorithmText, type SignatureAlgorithm } from '../../formats/signature-algorithm.ts'

const MIN_RSA_BITS = 2048
const MAX_RSA_BITS = 8192

/** Importing a key costs a tenth of a verification, and the same few authorities sign everything. */
const imported = new WeakMap<PublicKeyInfo, KeyObject>()

/**
 * The key for node:crypto. Throws VerifyError 'bad-certificate' for a kind that is not supported, an RSA modulus
 * outside of 2048 to 8192 bits, and a point that is not on its curve.
 */
export function keyObject(info: PublicKeyInfo): KeyObject {
  const known = imported.get(info)
  if (known) return known
  if (info.kind === 'unsupported' || (info.kind === 'rsa' && !allowedRsa(info.bits)))
    throw badKey(info, undefined)
  try {
    const key = createPublicKey({ key: Buffer.from(info.raw), format: 'der', type: 'spki' })
    imported.set(info, key)
    return key
  } catch (cause) {
    throw badKey(info, cause)
  }
}

const allowedRsa = (bits: number): boolean => bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS

function badKey(info: PublicKeyInfo, cause: unknown): VerifyError {
  return new VerifyError(`cannot use a public key: it is ${keyText(info)}${cause ? ', and invalid' : ''}`, {
    code: 'bad-certificate',
    expected: `EC P-256, P-384, P-521, or RSA of ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`,
    got: keyText(info),
    cause,
  })
}

export interface SignedBytes {
  readonly algorithm: SignatureAlgorithm
  /** What was signed, exactly. */
  readonly data: Uint8Array
  /** As the algorithm encodes it in X.509: for ECDSA a DER SEQUENCE of r and s. */
  readonly signature: Uint8Array
}

/**
 * Whether `key` signed the bytes. Throws VerifyError 'bad-certificate' where the algorithm is not supported, uses
 * SHA-1, or is not one of the key's kind.
 */
export function isSignedBy(info: PublicKeyInfo, { algorithm, data, signature }: SignedBytes): boolean {
  const fits = algorithm.kind === 'ecdsa' ? info.kind === 'ec' : info.kind === 'rsa'
  if (algorithm.kind === 'unsupported' || algorithm.hash === 'sha1' || !fits)
    throw new VerifyError(
      `cannot verify a signature: it is ${algorithmText(algorithm)}, the key is ${keyText(info)}`,
      {
        code: 'bad-certificate',
        expected:
          'ECDSA with an EC key, RSASSA-PSS or RSASSA-PKCS1-v1_5 with an RSA key; SHA-256, -384 or -512',
        got: `${algorithmText(algorithm)} with ${keyText(info)}`,
      },
    )
  const key = keyObject(info)
  if (algorithm.kind === 'ecdsa') return verify(algorithm.hash, data, key, signature)
  const padding = algorithm.kind === 'rsa-pss' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  const salt = algorithm.kind === 'rsa-pss' ? { saltLength: algorithm.saltLength } : {}
  return verify(algorithm.hash, data, { key, padding, ...salt }, signature)
}
