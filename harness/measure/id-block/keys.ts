/**
 * Keys and signatures as the SNP firmware takes them: SEV Secure Nested Paging Firmware ABI specification (56860),
 * chapter 10. Numbers are little-endian in 72 bytes, of which P-384 fills 48.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { digest } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'

export const KEY_BYTES = 1028
export const SIGNATURE_BYTES = 512

const CURVE_P384 = 2
const NUMBER_BYTES = 72
const P384_BYTES = 48

/** The 1028 bytes of the public half of a P-384 key. Throws UsageError for other keys. */
export function encodePublicKey(key: KeyObject): Buffer {
  const { x, y } = publicNumbers(key)
  const writer = new ByteWriter({ what: 'SNP public key' }).u32le(CURVE_P384, 'CURVE')
  for (const [field, value] of [
    ['QX', x],
    ['QY', y],
  ] as const)
    writer.bytes(littleEndian(value), field, NUMBER_BYTES)
  return writer.zeros(KEY_BYTES - writer.length).finish()
}

/** Throws FormatError where `bytes` are not 1028 bytes of a P-384 key, or no point of the curve. */
export function parsePublicKey(bytes: Uint8Array): KeyObject {
  const reader = new ByteReader(bytes, { what: 'SNP public key' })
  const curve = reader.u32le('CURVE')
  if (curve !== CURVE_P384)
    throw reader.error('bad-value', 'CURVE', `is ${curve}, must be ${CURVE_P384} (P-384)`, 0)
  const [x, y] = [readNumber(reader, 'QX'), readNumber(reader, 'QY')]
  reader.mustBeZero(KEY_BYTES - reader.position, 'reserved')
  reader.end()
  try {
    return createPublicKey({
      format: 'jwk',
      key: { kty: 'EC', crv: 'P-384', x: x.toString('base64url'), y: y.toString('base64url') },
    })
  } catch {
    throw reader.error('bad-value', 'QX', 'and QY are no point of P-384', 4)
  }
}

/** What a report calls ID_KEY_DIGEST or AUTHOR_KEY_DIGEST: SHA-384 over the 1028 bytes. */
export function keyDigest(key: KeyObject): Buffer {
  return digest('sha384', encodePublicKey(key))
}

/** 512 bytes: ECDSA with SHA-384. Throws UsageError for a key that is not a private P-384 one. */
export function signWith(key: KeyObject, data: Uint8Array): Buffer {
  publicNumbers(key)
  if (key.type !== 'private')
    throw new UsageError('cannot sign an ID block with a public key: the private one is required', {
      code: 'bad-value',
    })
  const signature = sign('sha384', data, { key, dsaEncoding: 'ieee-p1363' })
  return new ByteWriter({ what: 'SNP signature' })
    .bytes(littleEndian(signature.subarray(0, P384_BYTES)), 'R')
    .bytes(littleEndian(signature.subarray(P384_BYTES)), 'S')
    .zeros(SIGNATURE_BYTES - 2 * NUMBER_BYTES)
    .finish()
}

/** Throws FormatError for a signature that is malformed. */
export function isSignedBy(key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  const reader = new ByteReader(signature, { what: 'SNP signature' })
  const numbers = Buffer.concat([readNumber(reader, 'R'), readNumber(reader, 'S')])
  reader.mustBeZero(SIGNATURE_BYTES - reader.position, 'reserved')
  reader.end()
  return verify('sha384', data, { key, dsaEncoding: 'ieee-p1363' }, numbers)
}

function publicNumbers(key: KeyObject): { readonly x: Buffer; readonly y: Buffer } {
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve !== 'secp384r1')
    throw new UsageError(
      `cannot use a key of type ${curve ?? key.asymmetricKeyType ?? key.type}: SNP takes P-384`,
      {
        code: 'bad-value',
        hint: 'openssl ecparam -name secp384r1 -genkey -noout -out id-key.pem',
      },
    )
  const { x = '', y = '' } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  return { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') }
}

function littleEndian(bigEndian: Uint8Array): Buffer {
  const bytes = Buffer.alloc(NUMBER_BYTES)
  bytes.set(Buffer.from(bigEndian).reverse())
  return bytes
}

/** Big-endian, 48 bytes. */
function readNumber(reader: ByteReader, field: string): Buffer {
  const number = Buffer.from(reader.bytes(P384_BYTES, field)).reverse()
  reader.mustBeZero(NUMBER_BYTES - P384_BYTES, field)
  return number
}
