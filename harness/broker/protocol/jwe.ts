/**
 * JWE for a guest's ephemeral key: flattened JSON (RFC 7516, 7.2.2), A256GCM. Written by hand for one reason: Trustee's
 * client computes the AAD from the protected header as it would write it itself, so members must stand in the order of
 * its serializer: `alg`, `enc`, then the rest by name (virtee/kbs-types, ProtectedHeader).
 */
import {
  constants,
  createCipheriv,
  createECDH,
  createPublicKey,
  ECDH,
  type JsonWebKey,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { digest } from '../../base/digest.ts'
import { BrokerRefusal } from '../refusal.ts'
import type { TeePubkey } from './messages.ts'

/** kbs-types `Response`; every member base64url. */
export interface JweResponse {
  readonly protected: string
  readonly encrypted_key: string
  readonly iv: string
  readonly ciphertext: string
  readonly tag: string
}

const ECDH_ES = 'ECDH-ES+A256KW'
const OAEP = 'RSA-OAEP-256'
/** Bytes of a coordinate, and OpenSSL's name. */
interface Curve {
  readonly bytes: number
  readonly name: string
}
const CURVES: Readonly<Record<string, Curve>> = {
  'P-256': { bytes: 32, name: 'prime256v1' },
  'P-521': { bytes: 66, name: 'secp521r1' },
}
const MIN_RSA_BITS = 2048
const MAX_RSA_BITS = 8192
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6)

/** A key that was checked: on its curve, of a size that is allowed. */
export type WrappingKey =
  | { readonly kty: 'EC'; readonly crv: string; readonly curve: Curve; readonly point: Uint8Array }
  | { readonly kty: 'RSA'; readonly key: KeyObject }

/** Keys that were checked at attest, for the release that follows. */
const checked = new WeakMap<TeePubkey, WrappingKey>()

/** Throws BrokerRefusal `unsupported-key`, also for a point that is not on its curve. */
export function wrappingKey(jwk: TeePubkey): WrappingKey {
  const known = checked.get(jwk)
  if (known) return known
  const key = checkedKey(jwk)
  checked.set(jwk, key)
  return key
}

function checkedKey(jwk: TeePubkey): WrappingKey {
  return jwk.kty === 'EC' ? checkedPoint(jwk) : { kty: 'RSA', key: checkedRsa(jwk) }
}

function checkedPoint({ crv, alg, x, y }: Extract<TeePubkey, { kty: 'EC' }>): WrappingKey {
  const curve = Object.hasOwn(CURVES, crv) ? CURVES[crv] : undefined
  const fits = (text: string) => isBase64url(text) && Buffer.from(text, 'base64url').length === curve?.bytes
  if (alg !== ECDH_ES || curve === undefined || !fits(x) || !fits(y)) throw unsupported()
  // Uncompressed: SEC 1, 2.3.3.
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  try {
    // Of all ways to have OpenSSL look whether it is on the curve the one without objects for keys.
    ECDH.convertKey(point, curve.name)
  } catch (cause) {
    throw unsupported(cause)
  }
  return { kty: 'EC', crv, curve, point }
}

function checkedRsa(jwk: Extract<TeePubkey, { kty: 'RSA' }>): KeyObject {
  if (jwk.alg !== OAEP || !isBase64url(jwk.n) || !isBase64url(jwk.e)) throw unsupported()
  const key = importKey(jwk)
  const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {}
  const bits = modulusLength ?? 0
  const exponent = publicExponent ?? 0n
  // 3 and even exponents: textbook trouble that no guest of ours makes.
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS || exponent < 65_537n || exponent % 2n === 0n)
    throw unsupported()
  return key
}

function isBase64url(text: string): boolean {
  return text !== '' && Buffer.from(text, 'base64url').toString('base64url') === text
}

function importKey(jwk: TeePubkey): KeyObject {
  try {
    return createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
  } catch (cause) {
    throw unsupported(cause)
  }
}

function unsupported(cause?: unknown): BrokerRefusal {
  const keys = `EC on P-256 or P-521 with ${ECDH_ES}, RSA of ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits with ${OAEP}`
  return new BrokerRefusal(
    'unsupported-key',
    `tee-pubkey is none that resources are encrypted to: ${keys}`,
    cause,
  )
}

/** Encrypts under a key of its own for each call. */
export function encryptTo(key: WrappingKey, plaintext: Uint8Array): JweResponse {
  const contentKey = randomBytes(32)
  const { header, encryptedKey } =
    key.kty === 'EC' ? wrapByEcdh(key, contentKey) : wrapByRsa(key.key, contentKey)
  const protectedHeader = Buffer.from(JSON.stringify(header)).toString('base64url')
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(protectedHeader, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  contentKey.fill(0)
  return {
    protected: protectedHeader,
    encrypted_key: encryptedKey.toString('base64url'),
    iv: iv.toString('base64url'),
    ciphertext: ciphertext.toString('base64url'),
    tag: cipher.getAuthTag().toString('base64url'),
  }
}

interface WrappedKey {
  readonly header: object
  readonly encryptedKey: Buffer
}

function wrapByRsa(key: KeyObject, contentKey: Uint8Array): WrappedKey {
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  return {
    header: { alg: OAEP, enc: 'A256GCM' },
    encryptedKey: publicEncrypt({ key, padding, oaepHash: 'sha256' }, contentKey),
  }
}

/** RFC 7518, 4.6 with key wrapping (RFC 3394). */
function wrapByEcdh(
  { crv, curve: { bytes, name }, point: guests }: Extract<WrappingKey, { kty: 'EC' }>,
  contentKey: Uint8Array,
): WrappedKey {
  // Without objects for its keys: they take longer than the arithmetic.
  const ephemeral = createECDH(name)
  const point = ephemeral.generateKeys()
  const wrapKey = concatKdf(ephemeral.computeSecret(guests))
  const cipher = createCipheriv('id-aes256-wrap', wrapKey, KEY_WRAP_IV)
  const encryptedKey = Buffer.concat([cipher.update(contentKey), cipher.final()])
  const epk = {
    ...{ crv, kty: 'EC', x: point.toString('base64url', 1, 1 + bytes) },
    y: point.toString('base64url', 1 + bytes),
  }
  return { header: { alg: ECDH_ES, enc: 'A256GCM', epk }, encryptedKey }
}

/** NIST SP 800-56A's concatenation KDF, one round of SHA-256, without apu and apv: RFC 7518, 4.6.2. */
function concatKdf(secret: Uint8Array): Buffer {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return bytes
  }
  return digest('sha256', word(1), secret, word(ECDH_ES.length), ECDH_ES, word(0), word(0), word(256))
}
