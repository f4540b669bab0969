/**
 * ID blocks: what an SNP guest's owner expects of its launch, signed. The firmware refuses the launch where digest or
 * policy differ, and puts the keys' digests into every report. SEV Secure Nested Paging Firmware ABI specification
 * (56860), 8.18: tables 75 (ID block) and 76 (ID authentication information).
 */
import type { KeyObject } from 'node:crypto'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { UsageError } from '../../base/errors.ts'
import { encodePublicKey, isSignedBy, KEY_BYTES, parsePublicKey, SIGNATURE_BYTES, signWith } from './keys.ts'

const ID_AUTH_BYTES = 4096

const VERSION = 1
/** ECDSA P-384 with SHA-384. */
const ALGORITHM = 1
const DIGEST_BYTES = 48
const ID_BYTES = 16
const RESERVED = [56, 60, 892] as const

export interface IdBlock {
  /** 48 bytes. */
  readonly launchDigest: Uint8Array
  /** 16 bytes, the owner's to choose; default zeros. */
  readonly familyId?: Uint8Array
  /** 16 bytes, the owner's to choose; default zeros. */
  readonly imageId?: Uint8Array
  /** Security version of the guest, 32 bits; default 0. */
  readonly guestSvn?: number
  /** Guest policy, 64 bits: equal to that of the launch. */
  readonly policy: bigint
}

/** 96 bytes: QEMU's `id-block`, in base64. Throws FormatError where a field has another length. */
export function encodeIdBlock({ launchDigest, familyId, imageId, guestSvn = 0, policy }: IdBlock): Buffer {
  return new ByteWriter({ what: 'ID block' })
    .bytes(launchDigest, 'LD', DIGEST_BYTES)
    .bytes(familyId ?? new Uint8Array(ID_BYTES), 'FAMILY_ID', ID_BYTES)
    .bytes(imageId ?? new Uint8Array(ID_BYTES), 'IMAGE_ID', ID_BYTES)
    .u32le(VERSION, 'VERSION')
    .u32le(guestSvn, 'GUEST_SVN')
    .u64le(policy, 'POLICY')
    .finish()
}

/** Throws FormatError. */
export function parseIdBlock(bytes: Uint8Array): Required<IdBlock> {
  const reader = new ByteReader(bytes, { what: 'ID block' })
  const launchDigest = reader.bytes(DIGEST_BYTES, 'LD')
  const familyId = reader.bytes(ID_BYTES, 'FAMILY_ID')
  const imageId = reader.bytes(ID_BYTES, 'IMAGE_ID')
  const at = reader.offset
  const version = reader.u32le('VERSION')
  if (version !== VERSION) throw reader.error('bad-value', 'VERSION', `is ${version}, must be ${VERSION}`, at)
  const guestSvn = reader.u32le('GUEST_SVN')
  const policy = reader.u64le('POLICY')
  reader.end()
  return { launchDigest, familyId, imageId, guestSvn, policy }
}

export interface SignedIdBlock {
  /** 96 bytes. */
  readonly block: Buffer
  /** 4096 bytes: QEMU's `id-auth`, in base64. */
  readonly auth: Buffer
}

/**
 * Signs a block with the ID key, and the ID key with the author key where there is one (QEMU's `author-key-enabled`).
 * Throws UsageError for keys that are not private P-384 ones.
 */
export function signIdBlock(
  idBlock: IdBlock,
  { idKey, authorKey }: { readonly idKey: KeyObject; readonly authorKey?: KeyObject },
): SignedIdBlock {
  const block = encodeIdBlock(idBlock)
  const publicKey = encodePublicKey(idKey)
  const auth = new ByteWriter({ what: 'ID authentication information' })
    .u32le(ALGORITHM, 'ID_KEY_ALGO')
    .u32le(authorKey ? ALGORITHM : 0, 'AUTH_KEY_ALGO')
    .zeros(RESERVED[0])
    .bytes(signWith(idKey, block), 'ID_BLOCK_SIG', SIGNATURE_BYTES)
    .bytes(publicKey, 'ID_KEY', KEY_BYTES)
    .zeros(RESERVED[1])
  if (authorKey)
    auth
      .bytes(signWith(authorKey, publicKey), 'ID_KEY_SIG', SIGNATURE_BYTES)
      .bytes(encodePublicKey(authorKey), 'AUTHOR_KEY', KEY_BYTES)
  return { block, auth: auth.zeros(ID_AUTH_BYTES - auth.length).finish() }
}

export interface IdAuth {
  readonly idKey: KeyObject
  /** Absent where the author key is not used. */
  readonly authorKey: KeyObject | undefined
  /** Bytes of the ID key as they are signed and digested. */
  readonly idKeyBytes: Uint8Array
  readonly idBlockSignature: Uint8Array
  readonly idKeySignature: Uint8Array
}

/** Throws FormatError for malformed fields, reserved bytes that are not zero, and other algorithms. */
export function parseIdAuth(bytes: Uint8Array): IdAuth {
  const reader = new ByteReader(bytes, { what: 'ID authentication information' })
  const idAlgorithm = reader.u32le('ID_KEY_ALGO')
  if (idAlgorithm !== ALGORITHM)
    throw reader.error('bad-value', 'ID_KEY_ALGO', `is ${idAlgorithm}, must be ${ALGORITHM}`, 0)
  const authorAlgorithm = reader.u32le('AUTH_KEY_ALGO')
  if (authorAlgorithm !== 0 && authorAlgorithm !== ALGORITHM)
    throw reader.error('bad-value', 'AUTH_KEY_ALGO', `is ${authorAlgorithm}, must be 0 or ${ALGORITHM}`, 4)
  reader.mustBeZero(RESERVED[0], 'reserved')
  const idBlockSignature = reader.bytes(SIGNATURE_BYTES, 'ID_BLOCK_SIG')
  const idKeyBytes = reader.bytes(KEY_BYTES, 'ID_KEY')
  reader.mustBeZero(RESERVED[1], 'reserved')
  const idKeySignature = reader.bytes(SIGNATURE_BYTES, 'ID_KEY_SIG')
  const authorKeyBytes = reader.bytes(KEY_BYTES, 'AUTHOR_KEY')
  reader.mustBeZero(RESERVED[2], 'reserved')
  reader.end()
  return {
    idKey: parsePublicKey(idKeyBytes),
    authorKey: authorAlgorithm === 0 ? undefined : parsePublicKey(authorKeyBytes),
    ...{ idKeyBytes, idBlockSignature, idKeySignature },
  }
}

/**
 * Checks that the firmware would accept the signatures of a block. Throws FormatError for malformed bytes, UsageError
 * where a signature is wrong: the launch would end with BAD_SIGNATURE.
 */
export function checkIdBlock({
  block,
  auth,
}: {
  readonly block: Uint8Array
  readonly auth: Uint8Array
}): IdAuth {
  const parsed = parseIdAuth(auth)
  const { idKey, authorKey, idKeyBytes, idBlockSignature, idKeySignature } = parsed
  const wrong = !isSignedBy(idKey, block, idBlockSignature)
    ? 'the ID block is not signed by the ID key'
    : authorKey && !isSignedBy(authorKey, idKeyBytes, idKeySignature)
      ? 'the ID key is not signed by the author key'
      : undefined
  if (wrong === undefined) return parsed
  throw new UsageError(`cannot launch with this ID block: ${wrong}`, { code: 'bad-value' })
}
