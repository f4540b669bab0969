/** Signatures over exact bytes, with the keys of certificates; the cryptography is OpenSSL's, through node:crypto. */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { promisify } from 'node:util'
import type { DigestAlgorithm } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import { keyText, type PublicKeyInfo } from '../../formats/public-key-info.ts'
import { algorithmText, type SignatureAlgorithm } from '../../formats/signature-algorithm.ts'
import { encodeEcdsaValue, encodePssKey, PSS_KEY_ALGORITHM } from './signature-encoding.ts'

const MIN_RSA_BITS = 2048
const MAX_RSA_BITS = 8192

/** Importing a key costs as much as verifying an RSA signature with it. */
const imported = new WeakMap<PublicKeyInfo, KeyObject>()

/**
 * The key for node:crypto. Throws VerifyError 'bad-certificate' for a kind that is not supported, an RSA modulus
 * outside of 2048 to 8192 bits, and a point that is not on its curve. RFC 5280, 4.1.2.7.
 */
export function keyObject(info: PublicKeyInfo): KeyObject {
  const known = imported.get(info)
  if (known) return known
  const key = importKey(info, info.raw)
  imported.set(info, key)
  return key
}

function importKey(info: PublicKeyInfo, spki: Uint8Array): KeyObject {
  if (info.kind === 'unsupported' || (info.kind === 'rsa' && !allowedRsa(info.bits)))
    throw badKey(info, undefined)
  try {
    return createPublicKey(pemOf(spki))
  } catch (cause) {
    throw badKey(info, cause)
  }
}

/**
 * RFC 7468, 13. A leaf is imported for every report, and text takes half as long as an object with DER or coordinates,
 * which Node holds for a KeyObject until an exception says that it is none. The point must be on the curve.
 */
function pemOf(spki: Uint8Array): string {
  const bytes = Buffer.from(spki.buffer, spki.byteOffset, spki.length)
  return `-----BEGIN PUBLIC KEY-----\n${bytes.toString('base64').replace(LINES, '$&\n')}-----END PUBLIC KEY-----\n`
}

/** RFC 7468, 2: each line of 64 characters but the last. */
const LINES = /.{1,64}/g

const allowedRsa = (bits: number): boolean => bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS

function badKey(info: PublicKeyInfo, cause: unknown): VerifyError {
  return new VerifyError(`cannot use a public key: it is ${keyText(info)}${cause ? ', and invalid' : ''}`, {
    code: 'bad-certificate',
    expected: `EC P-256, P-384, P-521, or RSA of ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`,
    got: keyText(info),
    cause,
  })
}

/** The same few authorities sign everything: their keys, by use and SubjectPublicKeyInfo, the longest unused first. */
const authorities = new Map<string, KeyObject>()
const MAX_AUTHORITIES = 32

/** `use` tells the keys apart that one SubjectPublicKeyInfo is imported as. */
function authorityKey(info: PublicKeyInfo, use: 'pss' | 'plain'): KeyObject {
  const id = use + Buffer.from(info.raw).toString('latin1')
  const key = authorities.get(id) ?? importKey(info, use === 'pss' ? encodePssKey(info.key) : info.raw)
  authorities.delete(id)
  authorities.set(id, key)
  const [oldest] = authorities.keys()
  if (authorities.size > MAX_AUTHORITIES && oldest !== undefined) authorities.delete(oldest)
  return key
}

/** Bytes and a signature over them as X.509 has both: RFC 5280, 4.1.1. */
export interface SignedBytes {
  readonly algorithm: SignatureAlgorithm
  /** What was signed, exactly. */
  readonly data: Uint8Array
  /** As the algorithm encodes it in X.509: for ECDSA a DER SEQUENCE of r and s. */
  readonly signature: Uint8Array
}

/**
 * Whether `key` signed the bytes. Throws VerifyError 'bad-certificate' where the algorithm is not supported, uses
 * SHA-1, or is not one of the key's kind. RFC 5280, 4.1.1.2 and 4.1.1.3; RFC 8017, 8.1 and 8.2; FIPS 186-5, 6.4.2.
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
  const { hash } = algorithm
  if (algorithm.kind !== 'rsa-pss') return verify(hash, data, authorityKey(info, 'plain'), signature)
  const { saltLength } = algorithm
  const { hash: usualHash, saltLength: usualSalt } = PSS_KEY_ALGORITHM
  // A key that knows its padding: Node takes longer to look at options than OpenSSL for half of the verification.
  if (hash === usualHash && saltLength === usualSalt)
    return verify(hash, data, authorityKey(info, 'pss'), signature)
  const options = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }
  return verify(hash, data, { key: authorityKey(info, 'plain'), ...options }, signature)
}

/** Bytes and an ECDSA signature as bare numbers: FIPS 186-5, 6.4. */
export interface EcdsaSignedBytes {
  readonly hash: DigestAlgorithm
  readonly data: Uint8Array
  /** Big-endian, at most 127 bytes each; whether they are in range is OpenSSL's to check. */
  readonly r: Uint8Array
  readonly s: Uint8Array
}

/**
 * The same for evidence, which has r and s as bare numbers. `key` is an EC key. FIPS 186-5, 6.4.2. False for r or s out
 * of range; never throws for what was signed.
 */
export function isEcdsaSignedBy(key: KeyObject, { hash, data, r, s }: EcdsaSignedBytes): boolean {
  return verify(hash, data, key, encodeEcdsaValue(r, s))
}

const verifyElsewhere = promisify<string, Uint8Array, KeyObject, Uint8Array, boolean>(verify)

/** The same in a thread of libuv's pool, for who has other work meanwhile. FIPS 186-5, 6.4.2. Rejects as it throws: never. */
export function isEcdsaSignedByAside(
  key: KeyObject,
  { hash, data, r, s }: EcdsaSignedBytes,
): Promise<boolean> {
  return verifyElsewhere(hash, data, key, encodeEcdsaValue(r, s))
}
