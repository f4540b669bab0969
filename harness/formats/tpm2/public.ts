/** TPMT_PUBLIC, a key's public area: TPM 2.0 Part 2, TPMT_PUBLIC and TPMA_OBJECT. */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { ByteReader } from '../../base/bytes.ts'
import { digest } from '../../base/digest.ts'
import { type HashAlgorithm, hashAlgorithm } from './hash-algorithms.ts'
import { readSized } from './sized-buffer.ts'

const RSA = 0x0001
const ECC = 0x0023
const NULL = 0x0010
const RSAES = 0x0015
const ECDAA = 0x001a
/** Schemes and KDFs that are followed by a hash algorithm alone. */
const HASHED = [
  0x0014, 0x0016, 0x0017, 0x0018, 0x0019, 0x001b, 0x001c, 0x001d, 0x0007, 0x0020, 0x0021, 0x0022,
]
const BLOCK_CIPHERS = [0x0006, 0x0013, 0x0026]

/** TPMA_OBJECT, by bit. */
const ATTRIBUTES = {
  fixedTpm: 1,
  stClear: 2,
  fixedParent: 4,
  sensitiveDataOrigin: 5,
  userWithAuth: 6,
  adminWithPolicy: 7,
  firmwareLimited: 8,
  svnLimited: 9,
  noDa: 10,
  encryptedDuplication: 11,
  restricted: 16,
  decrypt: 17,
  sign: 18,
  x509Sign: 19,
} as const
/** TPMA_OBJECT, 32 bits, those that are read: TPM 2.0 Part 2. */
export type ObjectAttributes = { readonly [name in keyof typeof ATTRIBUTES]: boolean }
const KNOWN_BITS = Object.values(ATTRIBUTES).reduce<number>((bits, bit) => bits | (1 << bit), 0)

/** TPM_ECC_CURVE: TCG Algorithm Registry, table 4. */
export const ECC_CURVES = {
  'P-256': { id: 3, bytes: 32 },
  'P-384': { id: 4, bytes: 48 },
  'P-521': { id: 5, bytes: 66 },
} as const
/** By the names of node:crypto. TCG Algorithm Registry 1.34, TPM_ECC_CURVE. */
export type EccCurve = keyof typeof ECC_CURVES

/** The number that is the key, big-endian. TPM 2.0 Part 2, TPMU_PUBLIC_ID. */
export type KeyMaterial =
  | { readonly kind: 'rsa'; readonly bits: number; readonly exponent: number; readonly modulus: Uint8Array }
  | { readonly kind: 'ecc'; readonly curve: EccCurve; readonly x: Uint8Array; readonly y: Uint8Array }

/** TPMT_PUBLIC: TPM 2.0 Part 2. */
export interface TpmPublic {
  /** The bytes it was parsed from: what its name is computed over. */
  readonly bytes: Uint8Array
  readonly nameAlgorithm: HashAlgorithm
  readonly attributes: ObjectAttributes
  readonly authPolicy: Uint8Array
  /** Of a storage key: AES 128 or 256 in CFB mode in practice. */
  readonly symmetric:
    | { readonly algorithm: number; readonly keyBits: number; readonly mode: number }
    | undefined
  /** TPM_ALG_ID; TPM_ALG_NULL (0x10) where each use may choose. */
  readonly scheme: number
  readonly schemeHash: HashAlgorithm | undefined
  readonly key: KeyMaterial
}

/**
 * Parses a public area without a TPM2B around it: TPM 2.0 Part 2, TPMT_PUBLIC. RSA of 1024 to 4096 bits, and P-256,
 * P-384, P-521. Throws FormatError: `truncated`, `trailing-bytes`, `bad-value` for other algorithms and lengths,
 * `reserved-bit` for a reserved attribute.
 */
export function parseTpmPublic(bytes: Uint8Array): TpmPublic {
  const reader = new ByteReader(bytes, { what: 'TPMT_PUBLIC' })
  const type = reader.u16be('type')
  if (type !== RSA && type !== ECC)
    throw reader.error('bad-value', 'type', `is 0x${type.toString(16)}, must be RSA or ECC`, 0)
  const nameAlgorithm = readHash(reader, 'nameAlg')
  const attributes = readAttributes(reader)
  const authPolicy = readSized(reader, 'authPolicy', { max: 64 })
  const symmetric = readSymmetric(reader)
  const { scheme, schemeHash } = readScheme(reader, 'scheme')
  const key = type === RSA ? readRsa(reader) : readEcc(reader)
  reader.end()
  return { bytes, nameAlgorithm, attributes, authPolicy, symmetric, scheme, schemeHash, key }
}

/** Parses a TPM2B_PUBLIC (TPM 2.0 Part 2) of at most 4096 bytes, as tpm2-tools write it. Throws FormatError. */
export function parseTpm2bPublic(bytes: Uint8Array): TpmPublic {
  const reader = new ByteReader(bytes, { what: 'TPM2B_PUBLIC' })
  const area = readSized(reader, 'publicArea', { min: 1 })
  reader.end()
  return parseTpmPublic(area)
}

/**
 * nameAlg (2 bytes, big-endian) ‖ H(public area): TPM 2.0 Part 1, "Names". Throws TypeError for a hash that we do not
 * compute.
 */
export function tpmName({ bytes, nameAlgorithm }: TpmPublic): Buffer {
  if (!nameAlgorithm.bank) throw new TypeError(`names in ${nameAlgorithm.name} are not supported`)
  const name = Buffer.alloc(2)
  name.writeUInt16BE(nameAlgorithm.id)
  return Buffer.concat([name, digest(nameAlgorithm.bank, bytes)])
}

/**
 * Throws FormatError where the numbers are no key: a point off the curve, an even modulus. TPM 2.0 Part 2, TPMT_PUBLIC.
 */
export function publicKeyObject({ key }: TpmPublic): KeyObject {
  const jwk: JsonWebKey =
    key.kind === 'rsa'
      ? { kty: 'RSA', n: base64url(key.modulus), e: base64url(exponentBytes(key.exponent)) }
      : { kty: 'EC', crv: key.curve, x: base64url(key.x), y: base64url(key.y) }
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch (cause) {
    const reader = new ByteReader(Buffer.alloc(0), { what: 'TPMT_PUBLIC' })
    throw Object.assign(reader.error('bad-value', 'unique', 'is not a key of its type'), { cause })
  }
}

function readHash(reader: ByteReader, field: string): HashAlgorithm {
  const offset = reader.offset
  const value = reader.u16be(field)
  const found = hashAlgorithm(value)
  if (!found) throw reader.error('bad-value', field, `is 0x${value.toString(16)}, no hash algorithm`, offset)
  return found
}

function readAttributes(reader: ByteReader): ObjectAttributes {
  const offset = reader.offset
  const bits = reader.u32be('objectAttributes')
  if ((bits & ~KNOWN_BITS) !== 0)
    throw reader.error(
      'reserved-bit',
      'objectAttributes',
      `is 0x${bits.toString(16)}, reserved bits are set`,
      offset,
    )
  const entries = Object.entries(ATTRIBUTES).map(([name, bit]) => [name, ((bits >>> bit) & 1) === 1])
  return Object.fromEntries(entries) as ObjectAttributes
}

function readSymmetric(reader: ByteReader): TpmPublic['symmetric'] {
  const offset = reader.offset
  const algorithm = reader.u16be('symmetric')
  if (algorithm === NULL) return undefined
  if (!BLOCK_CIPHERS.includes(algorithm))
    throw reader.error('bad-value', 'symmetric', `is 0x${algorithm.toString(16)}, no block cipher`, offset)
  return { algorithm, keyBits: reader.u16be('symmetric.keyBits'), mode: reader.u16be('symmetric.mode') }
}

function readScheme(reader: ByteReader, field: string): Pick<TpmPublic, 'scheme' | 'schemeHash'> {
  const offset = reader.offset
  const scheme = reader.u16be(field)
  if (scheme === NULL || scheme === RSAES) return { scheme, schemeHash: undefined }
  if (scheme !== ECDAA && !HASHED.includes(scheme))
    throw reader.error('bad-value', field, `is 0x${scheme.toString(16)}, which is not known`, offset)
  const schemeHash = readHash(reader, `${field}.hashAlg`)
  if (scheme === ECDAA) reader.skip(2, `${field}.count`)
  return { scheme, schemeHash }
}

/** TPMS_RSA_PARMS and the modulus; an exponent of 0 stands for 65537. */
function readRsa(reader: ByteReader): KeyMaterial {
  const bitsAt = reader.offset
  const bits = reader.u16be('keyBits')
  if (![1024, 2048, 3072, 4096].includes(bits))
    throw reader.error('bad-value', 'keyBits', `is ${bits}, must be 1024, 2048, 3072 or 4096`, bitsAt)
  const exponent = reader.u32be('exponent') || 65_537
  return {
    kind: 'rsa',
    bits,
    exponent,
    modulus: readSized(reader, 'unique', { min: bits / 8, max: bits / 8 }),
  }
}

function readEcc(reader: ByteReader): KeyMaterial {
  const offset = reader.offset
  const id = reader.u16be('curveID')
  const curve = (Object.keys(ECC_CURVES) as EccCurve[]).find((each) => ECC_CURVES[each].id === id)
  if (!curve) throw reader.error('bad-value', 'curveID', `is ${id}, must be P-256, P-384 or P-521`, offset)
  readScheme(reader, 'kdf')
  const max = ECC_CURVES[curve].bytes
  const x = readSized(reader, 'unique.x', { min: 1, max })
  const y = readSized(reader, 'unique.y', { min: 1, max })
  return { kind: 'ecc', curve, x: padded(x, max), y: padded(y, max) }
}

/** TPMs may drop leading zeros of a coordinate. */
function padded(bytes: Uint8Array, length: number): Buffer {
  return Buffer.concat([Buffer.alloc(length - bytes.length), bytes])
}

function exponentBytes(exponent: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(exponent)
  return bytes.subarray(bytes.findIndex((byte) => byte !== 0))
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
