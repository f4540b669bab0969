/**
 * ECDSA P-384 signatures and public keys as AMD's firmware lays them out: AMD 56860, "Digital Signatures". Numbers
 * are little-endian in 72 bytes, of which P-384 needs 48.
 */
import type { ByteReader } from '../../base/bytes.ts'

/** Bytes of a P-384 number in FIPS form. */
export const COMPONENT_BYTES = 48
const FIELD_BYTES = 72
/** An ECDSA P-384 signature of AMD 56860 with its reserved bytes. */
export const SIGNATURE_BYTES = 512
/** An ECDSA P-384 public key of AMD 56860 with its reserved bytes. */
export const PUBLIC_KEY_BYTES = 0x404
const CURVE_P384 = 2

/**
 * r and s, 48 bytes big-endian each; that they lie within 1 to n-1 is not checked here. AMD 56860, "Digital
 * Signatures".
 */
export interface EcdsaSignature {
  readonly r: Uint8Array
  readonly s: Uint8Array
}

/**
 * x and y, 48 bytes big-endian each; that the point is on the curve is not checked here. AMD 56860, "Digital
 * Signatures".
 */
export interface EcdsaPublicKey {
  readonly x: Uint8Array
  readonly y: Uint8Array
  /** The 1028 bytes, which digests and signatures of keys cover. */
  readonly raw: Uint8Array
}

/** 512 bytes. Throws FormatError 'reserved-bit' where padding is not zero. AMD 56860, "Digital Signatures". */
export function readEcdsaSignature(reader: ByteReader, field: string): EcdsaSignature {
  const r = readNumber(reader, `${field}.R`)
  const s = readNumber(reader, `${field}.S`)
  reader.mustBeZero(SIGNATURE_BYTES - 2 * FIELD_BYTES, `${field} (reserved)`)
  return { r, s }
}

/** 1028 bytes. Throws FormatError 'bad-value' for another curve than P-384. AMD 56860, "Digital Signatures". */
export function readEcdsaPublicKey(reader: ByteReader, field: string): EcdsaPublicKey {
  const { offset } = reader
  const raw = reader.bytes(PUBLIC_KEY_BYTES, field)
  reader.seek(reader.position - PUBLIC_KEY_BYTES, field)
  const curve = reader.u32le(`${field}.CURVE`)
  if (curve !== CURVE_P384)
    throw reader.error('bad-value', `${field}.CURVE`, `is ${curve}, must be 2 (P-384)`, offset)
  const x = readNumber(reader, `${field}.QX`)
  const y = readNumber(reader, `${field}.QY`)
  reader.mustBeZero(PUBLIC_KEY_BYTES - 4 - 2 * FIELD_BYTES, `${field} (reserved)`)
  return { x, y, raw }
}

function readNumber(reader: ByteReader, field: string): Uint8Array {
  const littleEndian = reader.bytes(COMPONENT_BYTES, field)
  reader.mustBeZero(FIELD_BYTES - COMPONENT_BYTES, `${field} (padding)`)
  return Uint8Array.from(littleEndian).reverse()
}

/**
 * 512 bytes from r and s of 48 each, big-endian. AMD 56860, "Digital Signatures". Never throws: lengths are the
 * caller's to keep.
 */
export function encodeEcdsaSignature({ r, s }: EcdsaSignature): Buffer {
  const bytes = Buffer.alloc(SIGNATURE_BYTES)
  bytes.set(Uint8Array.from(r).reverse(), 0)
  bytes.set(Uint8Array.from(s).reverse(), FIELD_BYTES)
  return bytes
}

/**
 * 1028 bytes from x and y of 48 each, big-endian. AMD 56860, "Digital Signatures". Never throws: lengths are the
 * caller's to keep.
 */
export function encodeEcdsaPublicKey({ x, y }: Pick<EcdsaPublicKey, 'x' | 'y'>): Buffer {
  const bytes = Buffer.alloc(PUBLIC_KEY_BYTES)
  bytes.writeUInt32LE(CURVE_P384)
  bytes.set(Uint8Array.from(x).reverse(), 4)
  bytes.set(Uint8Array.from(y).reverse(), 4 + FIELD_BYTES)
  return bytes
}
