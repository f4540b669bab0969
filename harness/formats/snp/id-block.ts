/**
 * The ID block and its authentication, which the owner gives to SNP_LAUNCH_FINISH: AMD 56860, its
 * tables "Structure of the ID Block" and "Structure of the ID Authentication Information".
 */
import { ByteReader } from '../../base/bytes.ts'
import {
  type EcdsaPublicKey,
  type EcdsaSignature,
  encodeEcdsaSignature,
  readEcdsaPublicKey,
  readEcdsaSignature,
} from './ecdsa.ts'

/** Bytes of the ID block. AMD 56860, "Structure of the ID Block". */
export const ID_BLOCK_BYTES = 96
/**
 * Bytes of the ID authentication, its reserved ones with it. AMD 56860, "Structure of the ID Authentication
 * Information".
 */
export const ID_AUTH_BYTES = 4096

/** The ID block, 96 bytes, numbers little-endian: AMD 56860, SNP_LAUNCH_FINISH. */
export interface SnpIdBlock {
  /** The 96 bytes that the ID key signs. */
  readonly raw: Uint8Array
  /** Launch digest, 48 bytes. */
  readonly launchDigest: Uint8Array
  /** 16 bytes each. */
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  readonly guestSvn: number
  readonly policy: bigint
}

/**
 * Parses exactly 96 bytes: AMD 56860, "Structure of the ID Block". Throws FormatError: `truncated`, `trailing-bytes`,
 * `bad-value` for another version than 1.
 */
export function parseIdBlock(bytes: Uint8Array): SnpIdBlock {
  const reader = new ByteReader(bytes, { what: 'ID block' })
  const launchDigest = reader.bytes(48, 'LD')
  const familyId = reader.bytes(16, 'FAMILY_ID')
  const imageId = reader.bytes(16, 'IMAGE_ID')
  const { offset } = reader
  const version = reader.u32le('VERSION')
  if (version !== 1) throw reader.error('bad-value', 'VERSION', `is ${version}, must be 1`, offset)
  const guestSvn = reader.u32le('GUEST_SVN')
  const policy = reader.u64le('POLICY')
  reader.end()
  return { raw: bytes, launchDigest, familyId, imageId, guestSvn, policy }
}

/** Keys and signatures of the ID block, 4096 bytes: AMD 56860, SNP_LAUNCH_FINISH. */
export interface SnpIdAuthentication {
  readonly idSignature: EcdsaSignature
  readonly idKey: EcdsaPublicKey
  /** Absent where AUTHOR_KEY_ALGO is 0: the owner used no author key. */
  readonly author?: {
    /** Over the 1028 bytes of the ID key. */
    readonly signature: EcdsaSignature
    readonly key: EcdsaPublicKey
  }
}

const ECDSA_P384_SHA384 = 1

/**
 * Parses exactly 4096 bytes: AMD 56860, "Structure of the ID Authentication Information". Throws FormatError:
 * `truncated`, `trailing-bytes`, `bad-value` for another algorithm or curve, `reserved-bit`.
 */
export function parseIdAuthentication(bytes: Uint8Array): SnpIdAuthentication {
  const reader = new ByteReader(bytes, { what: 'ID authentication' })
  const idAlgorithm = reader.u32le('ID_KEY_ALGO')
  if (idAlgorithm !== ECDSA_P384_SHA384)
    throw reader.error(
      'bad-value',
      'ID_KEY_ALGO',
      `is ${idAlgorithm}, must be 1 (ECDSA P-384 with SHA-384)`,
      0,
    )
  const authorAlgorithm = reader.u32le('AUTHOR_KEY_ALGO')
  if (authorAlgorithm > ECDSA_P384_SHA384)
    throw reader.error('bad-value', 'AUTHOR_KEY_ALGO', `is ${authorAlgorithm}, must be 0 (none) or 1`, 4)
  reader.mustBeZero(0x40 - 0x08, 'reserved (0x08)')
  const idSignature = readEcdsaSignature(reader, 'ID_BLOCK_SIG')
  const idKey = readEcdsaPublicKey(reader, 'ID_KEY')
  reader.mustBeZero(0x680 - 0x644, 'reserved (0x644)')
  const author = authorAlgorithm === 0 ? skipAuthor(reader) : readAuthor(reader)
  reader.mustBeZero(ID_AUTH_BYTES - 0xc84, 'reserved (0xC84)')
  reader.end()
  return { idSignature, idKey, ...(author && { author }) }
}

function readAuthor(reader: ByteReader): NonNullable<SnpIdAuthentication['author']> {
  const signature = readEcdsaSignature(reader, 'ID_KEY_SIG')
  return { signature, key: readEcdsaPublicKey(reader, 'AUTHOR_KEY') }
}

function skipAuthor(reader: ByteReader): undefined {
  reader.mustBeZero(0xc84 - 0x680, 'ID_KEY_SIG and AUTHOR_KEY')
}

/**
 * 96 bytes; for tests and the emulated security processor. AMD 56860, "Structure of the ID Block". Lengths are the
 * caller's to keep; RangeError for a number that does not fit its field.
 */
export function encodeIdBlock(block: Omit<SnpIdBlock, 'raw'>): Buffer {
  const bytes = Buffer.alloc(ID_BLOCK_BYTES)
  bytes.set(block.launchDigest, 0)
  bytes.set(block.familyId, 48)
  bytes.set(block.imageId, 64)
  bytes.writeUInt32LE(1, 80)
  bytes.writeUInt32LE(block.guestSvn, 84)
  bytes.writeBigUInt64LE(block.policy, 88)
  return bytes
}

/**
 * 4096 bytes. AMD 56860, "Structure of the ID Authentication Information". Never throws: lengths are the caller's to
 * keep.
 */
export function encodeIdAuthentication({ idSignature, idKey, author }: SnpIdAuthentication): Buffer {
  const bytes = Buffer.alloc(ID_AUTH_BYTES)
  bytes.writeUInt32LE(ECDSA_P384_SHA384, 0)
  bytes.writeUInt32LE(author ? ECDSA_P384_SHA384 : 0, 4)
  bytes.set(encodeEcdsaSignature(idSignature), 0x40)
  bytes.set(idKey.raw, 0x240)
  if (author) {
    bytes.set(encodeEcdsaSignature(author.signature), 0x680)
    bytes.set(author.key.raw, 0x880)
  }
  return bytes
}
