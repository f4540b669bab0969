/**
 * Where things lie in the flash of an edk2 variable store: firmware volume header (UEFI Platform Initialization
 * specification 1.8, volume 3, 3.2.1), variable store header (edk2, MdeModulePkg/Include/Guid/VariableFormat.h),
 * and the working area of the fault tolerant writes (MdeModulePkg/Include/Guid/FaultTolerantWrite.h, PI volume 3, 3.6).
 */
import { crc32 } from 'node:zlib'
import { ByteReader } from '../base/bytes.ts'
import { GUID_BYTES, guidBytes } from './guid.ts'

const WHAT = 'variable store'
/** EFI_SYSTEM_NV_DATA_FV_GUID, gEfiAuthenticatedVariableGuid, gEdkiiWorkingBlockSignatureGuid. */
const NV_DATA_FV = guidBytes('fff12b8d-7696-4c8b-a985-2747075b4f50')
const AUTHENTICATED_VARIABLES = guidBytes('aaf32c78-947b-439a-a180-2e144ec37792')
const WORKING_BLOCK = guidBytes('9e58292b-7c68-497d-a0ce-6500fd9f1b95')

const FV_SIGNATURE = Buffer.from('_FVH')
const FV_SIGNATURE_AT = 40
/** Header without its block map. */
const FV_FIXED_BYTES = 56
const FV_REVISION = 2
const STORE_HEADER_BYTES = 28
const FORMATTED = 0x5a
const HEALTHY = 0xfe

const WORKING_HEADER_BYTES = 32
/** WorkingBlockValid is done, WorkingBlockInvalid is not, and what is reserved is erased. */
const WORKING_BLOCK_VALID = 0xfffffffe
const MOST_QUEUE_BYTES = 1n << 32n
/** Of a header as of a record. */
const FTW_ENTRY_BYTES = 40
/** A write names at most so many records; edk2's variable driver uses one. */
const MOST_FTW_RECORDS = 64

/** Where the parts of a variable store lie, in bytes from the start of its firmware volume: edk2, VariableFormat.h. */
export interface StoreLayout {
  /** Length of the firmware volume: a VARS file is as long, a combined image goes on with other volumes. */
  readonly volumeLength: number
  readonly blockSize: number
  /** First and last byte (exclusive) of the variable records. */
  readonly recordsAt: number
  readonly recordsEnd: number
}

/**
 * Throws FormatError with the offset in the image. PI 1.8, volume 3, 3.2.1 (firmware volume header); edk2,
 * VariableFormat.h.
 */
export function parseStoreLayout(image: Uint8Array): StoreLayout {
  const reader = new ByteReader(image, { what: WHAT })
  const volume = parseVolumeHeader(reader)
  checkImageLength(reader, volume.length)
  return { ...parseStoreHeader(reader, volume), volumeLength: volume.length, blockSize: volume.blockSize }
}

interface Volume {
  readonly length: number
  readonly headerLength: number
  readonly blockSize: number
}

function parseVolumeHeader(reader: ByteReader): Volume {
  reader.mustBeZero(16, 'ZeroVector')
  reader.magic(NV_DATA_FV, 'FileSystemGuid')
  const fvLength = reader.u64le('FvLength')
  reader.magic(FV_SIGNATURE, 'Signature')
  reader.skip(4, 'Attributes')
  const headerLength = reader.u16le('HeaderLength')
  reader.skip(2, 'Checksum')
  const extension = reader.u16le('ExtHeaderOffset')
  if (extension !== 0) throw reader.error('bad-value', 'ExtHeaderOffset', `is ${extension}, must be 0`, 52)
  reader.mustBeZero(1, 'Reserved')
  const revision = reader.u8('Revision')
  if (revision !== FV_REVISION)
    throw reader.error('bad-value', 'Revision', `is ${revision}, must be ${FV_REVISION}`, 55)
  const blocks = reader.u32le('NumBlocks')
  const blockSize = reader.u32le('Length')
  const length = Number(fvLength)
  if (BigInt(blocks) * BigInt(blockSize) !== fvLength || length === 0)
    throw reader.error(
      'bad-value',
      'FvLength',
      `is ${fvLength}, its map has ${blocks} blocks of ${blockSize}`,
      32,
    )
  if (headerLength !== FV_FIXED_BYTES + 16)
    throw reader.error('bad-value', 'HeaderLength', `is ${headerLength}, must be ${FV_FIXED_BYTES + 16}`, 48)
  reader.mustBeZero(8, 'end of the block map')
  checkSum(reader, headerLength)
  return { length, headerLength, blockSize }
}

/** The 16-bit words of the header add up to zero. */
function checkSum(reader: ByteReader, headerLength: number): void {
  reader.seek(0, 'header')
  let sum = 0
  for (let at = 0; at < headerLength; at += 2) sum = (sum + reader.u16le('header')) & 0xffff
  if (sum === 0) return
  throw reader.error('bad-value', 'Checksum', `is off by 0x${sum.toString(16)}, the header must sum to 0`, 50)
}

function checkImageLength(reader: ByteReader, volumeLength: number): void {
  if (reader.length < volumeLength)
    throw reader.error(
      'truncated',
      'FvLength',
      `is ${volumeLength} bytes, the image has ${reader.length}`,
      32,
    )
  if (reader.length === volumeLength) return
  reader.seek(volumeLength, 'next volume')
  const rest = reader.rest()
  if (Buffer.from(rest.subarray(FV_SIGNATURE_AT, FV_SIGNATURE_AT + 4)).equals(FV_SIGNATURE)) return
  const problem = `has ${rest.length} bytes, and no firmware volume begins there`
  throw reader.error('trailing-bytes', 'what follows the volume', problem, volumeLength)
}

function parseStoreHeader(reader: ByteReader, volume: Volume): Pick<StoreLayout, 'recordsAt' | 'recordsEnd'> {
  const at = volume.headerLength
  reader.seek(at, 'Signature')
  reader.magic(AUTHENTICATED_VARIABLES, 'Signature')
  const size = reader.u32le('Size')
  if (size < STORE_HEADER_BYTES || at + size > volume.length) {
    const problem = `is ${size}, must be ${STORE_HEADER_BYTES} to ${volume.length - at}`
    throw reader.error('bad-value', 'Size', problem, at + GUID_BYTES)
  }
  expectByte(reader, 'Format', FORMATTED)
  expectByte(reader, 'State', HEALTHY)
  reader.mustBeZero(6, 'Reserved')
  return { recordsAt: reader.position, recordsEnd: at + size }
}

function expectByte(reader: ByteReader, field: string, expected: number): void {
  const offset = reader.offset
  const got = reader.u8(field)
  const hex = (value: number) => `0x${value.toString(16)}`
  if (got !== expected)
    throw reader.error('bad-value', field, `is ${hex(got)}, must be ${hex(expected)}`, offset)
}

/**
 * What the fault tolerant write driver left: `replayed-at-boot` where it had saved new content to the spare area but
 * not yet to its place: the firmware will copy it over the variables at its next start. `reclaimed-at-boot`: it makes
 * its work space anew then, which holds bytes behind its last write or no room for another. `no-working-block`: none
 * that IsValidWorkSpace takes; the firmware looks for one in the spare blocks (InitFtwProtocol), and else makes an
 * empty one. Edk2, MdeModulePkg/Universal/FaultTolerantWriteDxe; PI 1.8, volume 3, 3.6.
 */
export type UnfinishedWrite =
  | 'none'
  | 'dropped-at-boot'
  | 'reclaimed-at-boot'
  | 'replayed-at-boot'
  | 'no-working-block'

/** Throws FormatError. Edk2, FaultTolerantWrite.h; PI 1.8, volume 3, 3.6. */
export function unfinishedWrite(image: Uint8Array, layout: StoreLayout): UnfinishedWrite {
  const work = findWorkSpace(image, layout)
  if (work === undefined) return 'no-working-block'
  const queue = new ByteReader(image.subarray(work.at, work.end), { what: WHAT, base: work.at })
  queue.skip(WORKING_HEADER_BYTES, 'working block header')
  // WorkSpaceRefresh: less than a header and a record is no room.
  while (queue.remaining >= 2 * FTW_ENTRY_BYTES) {
    const write = readWrite(queue)
    const { state, records, recordBytes } = write
    // Bits are inverted, as erased flash is all ones: 0 means done.
    if (write.isErased) return isErased(queue.rest()) ? 'none' : 'reclaimed-at-boot'
    if ((state & ALLOCATED) !== 0) return 'reclaimed-at-boot'
    if ((state & COMPLETE) !== 0) {
      const fate = fateOf(queue, { records, recordBytes })
      if (fate === 'replayed-at-boot') return fate
      return isErased(queue.rest()) ? fate : 'reclaimed-at-boot'
    }
    queue.skip(records * recordBytes, 'records')
  }
  return 'reclaimed-at-boot'
}

const ALLOCATED = 1
const COMPLETE = 4
const SPARE_COMPLETE = 2
const DESTINATION_COMPLETE = 4
const ERASED = 0xff

/**
 * Where the spare area begins, in bytes: it ends with the volume, and is as long as the records' blocks. Edk2,
 * MdeModulePkg/Universal/FaultTolerantWriteDxe. Never throws.
 */
export function spareAreaAt({ volumeLength, ...layout }: StoreLayout): number {
  return volumeLength - recordBlockBytes(layout)
}

function recordBlockBytes({ blockSize, recordsEnd }: Pick<StoreLayout, 'blockSize' | 'recordsEnd'>): number {
  return Math.ceil(recordsEnd / blockSize) * blockSize
}

/** Of a block whose offset is `at`; its work space ends before `end`. The spare area has none. */
function findWorkSpace(image: Uint8Array, layout: StoreLayout) {
  const { blockSize } = layout
  const spareAt = spareAreaAt(layout)
  for (let at = recordBlockBytes(layout); at < spareAt; at += blockSize) {
    const header = image.subarray(at, at + WORKING_HEADER_BYTES)
    if (!WORKING_BLOCK.equals(header.subarray(0, GUID_BYTES))) continue
    const size = workSpaceBytes(header)
    if (size === undefined || size % blockSize !== 0 || at + size > spareAt) return undefined
    return { at, end: at + size }
  }
  return undefined
}

/**
 * Of a header as InitializeLocalWorkSpaceHeader makes it, to the bit: IsValidWorkSpace compares all of it. The check
 * sum is the usual CRC-32 of the header, itself and the state in it taken as erased.
 */
function workSpaceBytes(header: Uint8Array): number | undefined {
  const reader = new ByteReader(header, { what: WHAT })
  reader.skip(GUID_BYTES, 'Signature')
  const crc = reader.u32le('Crc')
  const state = reader.u32le('WorkingBlockValid')
  const queueBytes = reader.u64le('WriteQueueSize')
  const covered = Buffer.from(header).fill(ERASED, GUID_BYTES, GUID_BYTES + 8)
  if (state !== WORKING_BLOCK_VALID || crc32(covered) !== crc || queueBytes > MOST_QUEUE_BYTES)
    return undefined
  return WORKING_HEADER_BYTES + Number(queueBytes)
}

interface QueuedWrite {
  readonly state: number
  readonly records: number
  readonly recordBytes: number
  readonly isErased: boolean
}

/** EFI_FAULT_TOLERANT_WRITE_HEADER; its fields are aligned as a C compiler does it. */
function readWrite(queue: ByteReader): QueuedWrite {
  const offset = queue.offset
  const bytes = queue.bytes(FTW_ENTRY_BYTES, 'WriteHeader')
  const reader = new ByteReader(bytes, { what: WHAT, base: offset })
  const state = reader.u8('WriteHeader.State')
  reader.skip(23, 'CallerId')
  const writes = reader.u64le('NumberOfWrites')
  const privateBytes = reader.u64le('PrivateDataSize')
  if ((state & ALLOCATED) !== 0) return { state, records: 0, recordBytes: 0, isErased: isErased(bytes) }
  if (writes > BigInt(MOST_FTW_RECORDS) || privateBytes > BigInt(queue.length))
    throw queue.error('too-large', 'NumberOfWrites', `is ${writes}, of ${privateBytes} private bytes`, offset)
  const recordBytes = FTW_ENTRY_BYTES + Number(privateBytes)
  return { state, records: Number(writes), recordBytes, isErased: false }
}

/** FtwGetLastWriteRecord: the first record that is not in its place decides. Reads all of them. */
function fateOf(
  queue: ByteReader,
  { records, recordBytes }: Pick<QueuedWrite, 'records' | 'recordBytes'>,
): UnfinishedWrite {
  const states = Array.from({ length: records }, () => {
    const state = queue.u8('WriteRecord.State')
    queue.skip(recordBytes - 1, 'WriteRecord')
    return state
  })
  const last = states.find((state) => (state & DESTINATION_COMPLETE) !== 0)
  return last !== undefined && (last & SPARE_COMPLETE) === 0 ? 'replayed-at-boot' : 'dropped-at-boot'
}

/**
 * Whether flash was never written since it was erased: all bits are ones. That is how EDK II's drivers of variables and of
 * unfinished writes tell it (FTW_ERASED_BYTE), whatever EFI_FVB2_ERASE_POLARITY in the volume's header says (PI 1.8, volume
 * 3, 3.2.1.1), and so it is what happens to the store. Never throws.
 */
export function isErased(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === ERASED)
}
