/** GUID partition tables, for reading: UEFI specification 2.10, "GUID Partition Table (GPT) Disk Layout". */
import { crc32 } from 'node:zlib'
import { ByteView } from './byte-view.ts'
import { guidText } from './guid.ts'

const SIGNATURE = 'EFI PART'
const HEADER_MIN_BYTES = 92
const ENTRY_MIN_BYTES = 128
/** More than any tool creates (128); bounds what a hostile header makes us read. */
const MAX_ENTRIES = 4096
const NAME_BYTES = 72

/** PartitionTypeGUIDs, as text in lower case: UEFI 2.10, 5.3.3, and the UAPI Discoverable Partitions Specification. */
export const PARTITION_TYPES = {
  esp: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  /** Root partition of an x86-64 system, Discoverable Partitions Specification. */
  rootX64: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709',
  /** Hash tree of that root partition, same specification. */
  rootX64Verity: '2c7357ed-ebd2-46d9-aec1-23d437ec2bf5',
  linuxData: '0fc63daf-8483-4772-8e79-3d69d8477de4',
} as const

/** GPT Partition Entry: UEFI 2.10, 5.3.3. GUIDs as text in lower case. */
export interface Partition {
  /** Position in the table, from 1: the number in a device's name. */
  readonly number: number
  readonly type: string
  readonly guid: string
  readonly label: string
  /** In bytes. */
  readonly offset: number
  readonly size: number
}

/** GPT Header and its entries: UEFI 2.10, 5.3. */
export interface PartitionTable {
  readonly diskGuid: string
  /** Bytes up to the end of the backup header: what the disk had when the table was written. */
  readonly diskSize: number
  readonly partitions: readonly Partition[]
}

/**
 * Parses the primary table from the start of a disk: at least the protective MBR, the header and its entries (34
 * sectors of 512 bytes in practice). Throws FormatError. UEFI 2.10, 5.3 (GUID Partition Table (GPT) Disk Layout).
 */
export function parseGpt(start: Uint8Array, { sectorSize = 512 } = {}): PartitionTable {
  const view = new ByteView(start, 'GPT')
  const at = sectorSize
  if (view.text(at, 8, 'Signature') !== SIGNATURE)
    throw view.error(`is not "${SIGNATURE}": there is no GUID partition table`, {
      code: 'bad-magic',
      field: 'Signature',
      offset: at,
    })
  checkHeaderCrc(view, at)
  const entriesAt = view.u64(at + 72, 'PartitionEntryLBA') * sectorSize
  const count = view.u32(at + 80, 'NumberOfPartitionEntries')
  const entrySize = view.u32(at + 84, 'SizeOfPartitionEntry')
  if (count > MAX_ENTRIES || entrySize < ENTRY_MIN_BYTES || entrySize > sectorSize * 8)
    throw view.error(
      `is ${count}, of ${entrySize} bytes; at most ${MAX_ENTRIES} of ${ENTRY_MIN_BYTES} to ${sectorSize * 8} are allowed`,
      {
        code: 'bad-value',
        field: 'NumberOfPartitionEntries',
        offset: at + 80,
      },
    )
  const entries = view.slice(entriesAt, count * entrySize, 'PartitionEntryArray')
  checkCrc(view, entries, { offset: at + 88, field: 'PartitionEntryArrayCRC32' })
  const partitions: Partition[] = []
  for (let index = 0; index < count; index++) {
    const partition = parseEntry(
      new ByteView(entries.subarray(index * entrySize), 'GPT entry'),
      index + 1,
      sectorSize,
    )
    if (partition) partitions.push(partition)
  }
  const diskSize = (view.u64(at + 32, 'AlternateLBA') + 1) * sectorSize
  return { diskSize, diskGuid: guidText(view.slice(at + 56, 16, 'DiskGUID')), partitions }
}

function parseEntry(entry: ByteView, number: number, sectorSize: number): Partition | undefined {
  const type = entry.slice(0, 16, 'PartitionTypeGUID')
  if (type.every((byte) => byte === 0)) return undefined
  const first = entry.u64(32, 'StartingLBA')
  const last = entry.u64(40, 'EndingLBA')
  if (last < first)
    throw entry.error(`of partition ${number} is ${last}, before its start ${first}`, {
      code: 'bad-value',
      field: 'EndingLBA',
      offset: 40,
    })
  const name = Buffer.from(entry.slice(56, NAME_BYTES, 'PartitionName')).toString('utf16le')
  return {
    number,
    type: guidText(type),
    guid: guidText(entry.slice(16, 16, 'UniquePartitionGUID')),
    label: name.replace(/\0.*$/s, ''),
    offset: first * sectorSize,
    size: (last - first + 1) * sectorSize,
  }
}

function checkHeaderCrc(view: ByteView, at: number): void {
  const size = view.u32(at + 12, 'HeaderSize')
  if (size < HEADER_MIN_BYTES || size > 512)
    throw view.error(`is ${size}, ${HEADER_MIN_BYTES} to 512 are allowed`, {
      code: 'bad-value',
      field: 'HeaderSize',
      offset: at + 12,
    })
  const header = Uint8Array.from(view.slice(at, size, 'header'))
  header.fill(0, 16, 20)
  checkCrc(view, header, { offset: at + 16, field: 'HeaderCRC32' })
}

function checkCrc(
  view: ByteView,
  covered: Uint8Array,
  { offset, field }: { offset: number; field: string },
): void {
  const stored = view.u32(offset, field)
  const actual = crc32(covered)
  if (stored === actual) return
  throw view.error(`is 0x${stored.toString(16)}, the bytes give 0x${actual.toString(16)}`, {
    code: 'bad-value',
    field,
    offset,
  })
}
