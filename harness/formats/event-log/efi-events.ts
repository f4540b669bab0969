/** What firmware puts into events about variables, images and disks: PFP 1.06, "Event Logging". */
import { ByteReader } from '../../base/bytes.ts'
import { type DevicePath, parseDevicePath } from '../device-path.ts'
import { GUID_BYTES, guidText } from '../guid.ts'

/** "A variable's name": longer ones do not occur, and names are shown to people. */
const MAX_NAME_CHARACTERS = 512
const GPT_HEADER_BYTES = 92
const GPT_ENTRY_BYTES = 128
const MAX_PARTITIONS = 1024

/** UEFI_VARIABLE_DATA of PFP 1.06. */
export interface VariableEvent {
  /** VariableName: the vendor's GUID. */
  readonly guid: string
  readonly name: string
  readonly data: Uint8Array
}

/** Bytes that shim before 15.5 logged behind the variable's data: 6, of which it hashed 5. */
const STRAY_BYTES = 6

/**
 * Parses 32 bytes, the name of 2 bytes a character, and the data. Throws FormatError. Nothing may follow the variable's
 * data but the stray bytes of an old shim, which are left out. PFP 1.06, UEFI_VARIABLE_DATA.
 */
export function parseVariableEvent(bytes: Uint8Array): VariableEvent {
  const reader = new ByteReader(bytes, { what: 'UEFI_VARIABLE_DATA' })
  const guid = guidText(reader.bytes(GUID_BYTES, 'VariableName'))
  const nameAt = reader.offset
  const characters = reader.u64le('UnicodeNameLength')
  const dataAt = reader.offset
  const dataBytes = reader.u64le('VariableDataLength')
  if (characters > MAX_NAME_CHARACTERS)
    throw reader.error(
      'too-large',
      'UnicodeNameLength',
      `is ${characters}, at most ${MAX_NAME_CHARACTERS} are read`,
      nameAt,
    )
  const name = Buffer.from(reader.bytes(Number(characters) * 2, 'UnicodeName')).toString('utf16le')
  const stray = BigInt(reader.remaining) - dataBytes
  if (stray !== 0n && stray !== BigInt(STRAY_BYTES))
    throw reader.error(
      'bad-value',
      'VariableDataLength',
      `is ${dataBytes}, ${reader.remaining} bytes follow`,
      dataAt,
    )
  return { guid, name, data: reader.bytes(Number(dataBytes), 'VariableData') }
}

/** UEFI_IMAGE_LOAD_EVENT of PFP 1.06. None of it is hashed: the digest of such an event is the image's own. */
export interface ImageLoadEvent {
  readonly address: bigint
  readonly bytes: bigint
  /** Undefined where the firmware gave none: an image from memory. */
  readonly path: DevicePath | undefined
}

/**
 * Parses 32 bytes and a device path of exactly the length that they say. Throws FormatError. PFP 1.06,
 * UEFI_IMAGE_LOAD_EVENT.
 */
export function parseImageLoadEvent(data: Uint8Array): ImageLoadEvent {
  const reader = new ByteReader(data, { what: 'UEFI_IMAGE_LOAD_EVENT' })
  const address = reader.u64le('ImageLocationInMemory')
  const bytes = reader.u64le('ImageLengthInMemory')
  reader.u64le('ImageLinkTimeAddress')
  const lengthAt = reader.offset
  const length = reader.u64le('LengthOfDevicePath')
  if (length !== BigInt(reader.remaining))
    throw reader.error(
      'bad-value',
      'LengthOfDevicePath',
      `is ${length}, ${reader.remaining} bytes follow`,
      lengthAt,
    )
  const path = reader.rest()
  return { address, bytes, path: path.length === 0 ? undefined : parseDevicePath(path) }
}

/** A used entry of UEFI_GPT_DATA, GUIDs in text: PFP 1.06. */
export interface LoggedPartition {
  readonly type: string
  readonly guid: string
  /** In sectors, whose size the event does not say. */
  readonly firstLba: bigint
  readonly lastLba: bigint
  readonly label: string
}

/** UEFI_GPT_DATA of PFP 1.06: the used entries of the partition table that was booted from. */
export interface GptEvent {
  readonly diskGuid: string
  readonly partitions: readonly LoggedPartition[]
}

/**
 * Parses a partition table's header and at most 1024 entries. Throws FormatError; nothing may follow the entries. PFP
 * 1.06, UEFI_GPT_DATA.
 */
export function parseGptEvent(data: Uint8Array): GptEvent {
  const reader = new ByteReader(data, { what: 'UEFI_GPT_DATA' })
  const header = reader.sub(GPT_HEADER_BYTES, 'UEFIPartitionHeader')
  header.magic(Buffer.from('EFI PART'), 'Signature')
  header.seek(56, 'DiskGUID')
  const diskGuid = guidText(header.bytes(GUID_BYTES, 'DiskGUID'))
  header.seek(84, 'SizeOfPartitionEntry')
  const entryBytes = header.u32le('SizeOfPartitionEntry')
  const countAt = reader.offset
  const count = reader.u64le('NumberOfPartitions')
  if (entryBytes < GPT_ENTRY_BYTES || entryBytes > 4096 || count > MAX_PARTITIONS)
    throw reader.error(
      'bad-value',
      'NumberOfPartitions',
      `is ${count}, of ${entryBytes} bytes; at most ${MAX_PARTITIONS} of ${GPT_ENTRY_BYTES} to 4096 are read`,
      countAt,
    )
  const partitions: LoggedPartition[] = []
  for (let index = 0n; index < count; index++)
    partitions.push(readPartition(reader.sub(entryBytes, 'Partitions')))
  reader.end()
  return { diskGuid, partitions }
}

function readPartition(entry: ByteReader): LoggedPartition {
  const type = guidText(entry.bytes(GUID_BYTES, 'PartitionTypeGUID'))
  const guid = guidText(entry.bytes(GUID_BYTES, 'UniquePartitionGUID'))
  const firstLba = entry.u64le('StartingLBA')
  const lastLba = entry.u64le('EndingLBA')
  entry.skip(8, 'Attributes')
  const name = Buffer.from(entry.bytes(72, 'PartitionName')).toString('utf16le')
  const end = name.indexOf('\0')
  return { type, guid, firstLba, lastLba, label: end < 0 ? name : name.slice(0, end) }
}

/** TCG_PCClientTaggedEvent, 10.2.7: Linux and systemd name what they measured by the identifier. */
export interface TaggedEvent {
  readonly id: number
  readonly data: Uint8Array
}

/** Throws FormatError; nothing may follow the data. PFP 1.06, TCG_PCClientTaggedEvent: u32 id, u32 size in bytes. */
export function parseTaggedEvent(bytes: Uint8Array): TaggedEvent {
  const reader = new ByteReader(bytes, { what: 'tagged event' })
  const id = reader.u32le('taggedEventID')
  const sizeAt = reader.offset
  const size = reader.u32le('taggedEventDataSize')
  if (size !== reader.remaining)
    throw reader.error(
      'bad-value',
      'taggedEventDataSize',
      `is ${size}, ${reader.remaining} bytes follow`,
      sizeAt,
    )
  return { id, data: reader.rest() }
}
