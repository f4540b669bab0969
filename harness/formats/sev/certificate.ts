/**
 * Certificates of SEV and SEV-ES, before AMD used X.509: Secure Encrypted Virtualization API (AMD 55766, revision
 * 3.24), the certificate formats of its appendices (ARK, ASK; CEK, OCA, PEK, PDH). They have no validity; numbers are
 * little-endian.
 */
import { ByteReader } from '../../base/bytes.ts'
import {
  type EcdsaPublicKey,
  type EcdsaSignature,
  readEcdsaPublicKey,
  readEcdsaSignature,
} from '../snp/ecdsa.ts'

/** KEY_USAGE: who may hold a key. AMD 55766, certificate formats. */
export type SevRole = 'ark' | 'ask' | 'oca' | 'pek' | 'pdh' | 'cek'

const AUTHORITY_ROLES: Readonly<Record<number, 'ark' | 'ask'>> = { 0: 'ark', 19: 'ask' }
const PLATFORM_ROLES: Readonly<Record<number, 'oca' | 'pek' | 'pdh' | 'cek'>> = {
  4097: 'oca',
  4098: 'pek',
  4099: 'pdh',
  4100: 'cek',
}
const UNUSED_SIGNATURE = 0x1000

/**
 * An ARK or ASK: RSA 2048 (Naples) or 4096 (Rome and later). AMD 55766, certificate formats; numbers in
 * bytes, little-endian.
 */
export interface SevAuthority {
  readonly role: 'ark' | 'ask'
  /** 16 bytes each, hex; equal in an ARK. */
  readonly keyId: string
  readonly certifyingKeyId: string
  readonly bits: 2048 | 4096
  /** Big-endian, as long as the modulus. */
  readonly exponent: Uint8Array
  readonly modulus: Uint8Array
  /** What the signature covers: all before it. */
  readonly signed: Uint8Array
  /** Big-endian, as long as the modulus. */
  readonly signature: Uint8Array
}

/**
 * Exactly 832 or 1600 bytes. Throws FormatError: also for sizes of exponent and modulus that differ. AMD 55766,
 * certificate formats.
 */
export function parseSevAuthority(bytes: Uint8Array): SevAuthority {
  const reader = new ByteReader(bytes, { what: 'SEV authority certificate' })
  readVersion(reader)
  const keyId = Buffer.from(reader.bytes(16, 'KEY_ID')).toString('hex')
  const certifyingKeyId = Buffer.from(reader.bytes(16, 'CERTIFYING_KEY_ID')).toString('hex')
  const role = AUTHORITY_ROLES[reader.u32le('KEY_USAGE')]
  if (!role) throw reader.error('bad-value', 'KEY_USAGE', 'must be 0 (ARK) or 0x13 (ASK)', 0x24)
  reader.mustBeZero(16, 'reserved (0x28)')
  const exponentBits = reader.u32le('PUBEXP_SIZE')
  const bits = reader.u32le('MODULUS_SIZE')
  if ((bits !== 2048 && bits !== 4096) || exponentBits !== bits)
    throw reader.error(
      'bad-value',
      'MODULUS_SIZE',
      `is ${bits} (exponent ${exponentBits}), both must be 2048 or 4096`,
      0x38,
    )
  const exponent = number(reader, bits, 'PUBEXP')
  const modulus = number(reader, bits, 'MODULUS')
  const signed = bytes.subarray(0, reader.position)
  const signature = number(reader, bits, 'SIGNATURE')
  reader.end()
  return { role, keyId, certifyingKeyId, bits, exponent, modulus, signed, signature }
}

function number(reader: ByteReader, bits: number, field: string): Uint8Array {
  return Uint8Array.from(reader.bytes(bits / 8, field)).reverse()
}

function readVersion(reader: ByteReader): void {
  const version = reader.u32le('VERSION')
  if (version !== 1) throw reader.error('bad-value', 'VERSION', `is ${version}, must be 1`, 0)
}

/** Hashes of the signatures: AMD 55766 (SEV API). */
export type SevHash = 'sha256' | 'sha384'

/** By whom a platform's certificate is signed; a certificate has none, one or two. AMD 55766, certificate formats. */
export type SevSignature =
  | { readonly by: SevRole; readonly kind: 'rsa'; readonly hash: SevHash; readonly littleEndian: Uint8Array }
  | { readonly by: SevRole; readonly kind: 'ecdsa'; readonly hash: SevHash; readonly value: EcdsaSignature }

/** A key of the platform or its owner: P-384. AMD 55766, certificate formats; 2084 bytes. */
export interface SevPlatformCertificate {
  readonly role: 'oca' | 'pek' | 'pdh' | 'cek'
  readonly key: EcdsaPublicKey
  /** The first 1044 bytes. */
  readonly signed: Uint8Array
  readonly signatures: readonly SevSignature[]
}

const SIGNED_BYTES = 0x414
const ALGORITHMS: Readonly<Record<number, { readonly kind: 'rsa' | 'ecdsa'; readonly hash: SevHash }>> = {
  1: { kind: 'rsa', hash: 'sha256' },
  2: { kind: 'ecdsa', hash: 'sha256' },
  257: { kind: 'rsa', hash: 'sha384' },
  258: { kind: 'ecdsa', hash: 'sha384' },
}
/** ECDSA, and ECDH of the PDH, each with SHA-256 or SHA-384. */
const KEY_ALGORITHMS: readonly number[] = [2, 3, 0x102, 0x103]

/**
 * Parses exactly 2084 bytes (AMD 55766). Throws FormatError: `truncated`, `trailing-bytes`, `bad-value` for another
 * version, role or algorithm, `reserved-bit`.
 */
export function parseSevPlatformCertificate(bytes: Uint8Array): SevPlatformCertificate {
  const reader = new ByteReader(bytes, { what: 'SEV platform certificate' })
  readVersion(reader)
  reader.skip(2, 'API_MAJOR, API_MINOR')
  reader.mustBeZero(2, 'reserved (0x06)')
  const role = PLATFORM_ROLES[reader.u32le('PUBKEY_USAGE')]
  if (!role) throw reader.error('bad-value', 'PUBKEY_USAGE', 'must be 0x1001 (OCA) to 0x1004 (CEK)', 0x08)
  const algorithm = reader.u32le('PUBKEY_ALGO')
  if (!KEY_ALGORITHMS.includes(algorithm))
    throw reader.error('bad-value', 'PUBKEY_ALGO', `is ${algorithm}, must be ECDSA or ECDH`, 0x0c)
  const key = readEcdsaPublicKey(reader, 'PUBKEY')
  const signatures = [readSignature(reader, 'SIG1'), readSignature(reader, 'SIG2')].filter(
    (each) => each !== undefined,
  )
  reader.end()
  return { role, key, signed: bytes.subarray(0, SIGNED_BYTES), signatures }
}

function readSignature(reader: ByteReader, field: string): SevSignature | undefined {
  const { offset } = reader
  const usage = reader.u32le(`${field}_USAGE`)
  const algorithm = reader.u32le(`${field}_ALGO`)
  if (usage === UNUSED_SIGNATURE) return void reader.skip(512, field)
  const by = AUTHORITY_ROLES[usage] ?? PLATFORM_ROLES[usage]
  const how = ALGORITHMS[algorithm]
  if (!by || !how) {
    const problem = `is ${usage} with algorithm ${algorithm}, which is no signer`
    throw reader.error('bad-value', `${field}_USAGE`, problem, offset)
  }
  const { kind, hash } = how
  if (kind === 'rsa') return { by, kind, hash, littleEndian: reader.bytes(512, field) }
  return { by, kind, hash, value: readEcdsaSignature(reader, field) }
}
