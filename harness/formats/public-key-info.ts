/** SubjectPublicKeyInfo: RFC 5280, 4.1.2.7; RFC 5480 for elliptic curves, RFC 3279 and 4055 for RSA. */
import { DerReader, TAG } from './der.ts'

/** By their NIST names: RFC 5480, 2.1.1.1 (secp256r1, secp384r1, secp521r1). */
export type Curve = 'P-256' | 'P-384' | 'P-521'

/**
 * RSA with the bits of its modulus, EC with its curve, or a kind that nobody uses here. RFC 3279, 2.3.1; RFC 5480, 2.1.
 */
export type KeyKind =
  /**
   * A named curve, the point uncompressed. Curves given by their parameters are unsupported: they can be chosen to fit.
   */
  | { readonly kind: 'ec'; readonly curve: Curve }
  /** `bits` of the modulus. */
  | { readonly kind: 'rsa'; readonly bits: number }
  | { readonly kind: 'unsupported'; readonly oid: string }

/** SubjectPublicKeyInfo: RFC 5280, 4.1.2.7; RFC 3279; RFC 5480. */
export type PublicKeyInfo = KeyKind & {
  /** The whole SubjectPublicKeyInfo as encoded: what pins a key. */
  readonly raw: Uint8Array
  /** Content of subjectPublicKey: for EC 0x04, x and y; for RSA an RSAPublicKey. */
  readonly key: Uint8Array
}

const EC_PUBLIC_KEY = '1.2.840.10045.2.1'
const RSA_KEYS: readonly string[] = ['1.2.840.113549.1.1.1', '1.2.840.113549.1.1.10']
const CURVES: Readonly<Record<string, Curve>> = {
  '1.2.840.10045.3.1.7': 'P-256',
  '1.3.132.0.34': 'P-384',
  '1.3.132.0.35': 'P-521',
}
const COORDINATE_BYTES: Readonly<Record<Curve, number>> = { 'P-256': 32, 'P-384': 48, 'P-521': 66 }
const UNCOMPRESSED = 4

/**
 * Reads the next SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): RSA, and P-256, P-384 and P-521 uncompressed; any other is
 * `unsupported`, for its user to refuse. Throws FormatError.
 */
export function parsePublicKeyInfo(parent: DerReader): PublicKeyInfo {
  const whole = parent.read(TAG.sequence, 'subjectPublicKeyInfo')
  const reader = parent.enter(whole, 'subjectPublicKeyInfo')
  const algorithm = reader.sequence('algorithm')
  const oid = algorithm.oid('algorithm')
  const curve = algorithm.peek() === TAG.oid ? CURVES[algorithm.oid('namedCurve')] : undefined
  if (curve !== undefined) algorithm.end('algorithm')
  const { unusedBits, bytes: key } = reader.bitString('subjectPublicKey')
  if (unusedBits !== 0) throw reader.error('bad-value', 'subjectPublicKey', 'is not a whole number of bytes')
  reader.end('subjectPublicKeyInfo')
  return { ...keyKind(reader, { oid, curve, key }), raw: whole.raw, key }
}

function keyKind(
  parent: DerReader,
  { oid, curve, key }: { oid: string; curve: Curve | undefined; key: Uint8Array },
): KeyKind {
  if (RSA_KEYS.includes(oid)) return { kind: 'rsa', bits: modulusBits(parent, key) }
  if (oid !== EC_PUBLIC_KEY || curve === undefined) return { kind: 'unsupported', oid }
  const plain = key[0] === UNCOMPRESSED && key.length === 1 + 2 * COORDINATE_BYTES[curve]
  return plain ? { kind: 'ec', curve } : { kind: 'unsupported', oid }
}

/** RSAPublicKey ::= SEQUENCE of modulus and exponent, both positive. */
function modulusBits(parent: DerReader, key: Uint8Array): number {
  const base = parent.offset - key.length
  const outer = new DerReader(key, { what: parent.what, base })
  const reader = outer.sequence('RSAPublicKey')
  outer.end('RSAPublicKey')
  const modulus = reader.integerBytes('modulus')
  const exponent = reader.integerBytes('publicExponent')
  reader.end('RSAPublicKey')
  const [first = 0, second = 0] = modulus
  if (first >= 0x80 || (exponent[0] ?? 0) >= 0x80)
    throw parent.error('bad-value', 'RSAPublicKey', 'has a negative number')
  return first === 0
    ? (modulus.length - 1) * 8 - Math.clz32(second) + 24
    : modulus.length * 8 - Math.clz32(first) + 24
}

/** "RSA 4096", "EC P-384", for people. Never throws. */
export function keyText(key: KeyKind): string {
  if (key.kind === 'unsupported') return `a key of kind ${key.oid}`
  return key.kind === 'ec' ? `EC ${key.curve}` : `RSA ${key.bits}`
}
