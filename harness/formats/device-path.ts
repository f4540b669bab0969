/** Device paths: a list of nodes that lead to a device or a file. UEFI specification 2.10, chapter 10. */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { GUID_BYTES, guidBytes, guidText } from './guid.ts'
import { readUcs2, ucs2Bytes } from './ucs2.ts'

const NODE_HEADER_BYTES = 4
/** Longer than any firmware makes. */
const MOST_NODES = 256

const HARDWARE = 1
const ACPI = 2
const MEDIA = 4
const END = 0x7f
const END_ENTIRE = 0xff
const END_INSTANCE = 1
const GPT_FORMAT = 2
const GUID_SIGNATURE = 2

/** EFI_DEVICE_PATH_PROTOCOL, one node: UEFI 2.10, 10.2. At most 65531 bytes of `data` behind the header of 4. */
export interface DevicePathNode {
  readonly type: number
  readonly subType: number
  /** What follows the node's own header. */
  readonly data: Uint8Array
}

/** One instance of a device path: UEFI 2.10, 10.2. */
export interface DevicePath {
  /** Without the node that ends it. */
  readonly nodes: readonly DevicePathNode[]
}

/** A partition of a GPT disk; `start` and `size` in sectors. UEFI 2.10, 10.3.5.1 (Hard Drive). */
export interface HardDriveNode {
  readonly partition: number
  readonly start: bigint
  readonly size: bigint
  readonly guid: string
}

/**
 * Reads one device path, up to the node that ends it. Throws FormatError. UEFI 2.10, 10.3.1 (Generic Device Path
 * Structures).
 */
export function readDevicePath(reader: ByteReader): DevicePath {
  const nodes: DevicePathNode[] = []
  for (;;) {
    const at = reader.offset
    const type = reader.u8('Type')
    const subType = reader.u8('SubType')
    const length = reader.u16le('Length')
    if (length < NODE_HEADER_BYTES)
      throw reader.error(
        'bad-value',
        'Length',
        `is ${length}, at least ${NODE_HEADER_BYTES} is required`,
        at + 2,
      )
    const data = reader.bytes(length - NODE_HEADER_BYTES, 'node')
    if (type === END && subType === END_ENTIRE) return { nodes }
    if (nodes.length === MOST_NODES)
      throw reader.error('too-large', 'device path', `has more than ${MOST_NODES} nodes`, at)
    nodes.push({ type, subType, data })
  }
}

/**
 * Parses bytes that are one device path and nothing else. Throws FormatError, `trailing-bytes` for more. UEFI 2.10,
 * 10.3.1.
 */
export function parseDevicePath(bytes: Uint8Array): DevicePath {
  const reader = new ByteReader(bytes, { what: 'device path' })
  const path = readDevicePath(reader)
  reader.end()
  return path
}

/**
 * The nodes and the one that ends them (UEFI 2.10, 10.3.1), each 4 bytes and its data. Throws FormatError where a node
 * is longer than 65535 bytes.
 */
export function encodeDevicePath({ nodes }: DevicePath): Buffer {
  const writer = new ByteWriter({ what: 'device path' })
  for (const { type, subType, data } of [
    ...nodes,
    { type: END, subType: END_ENTIRE, data: new Uint8Array() },
  ])
    writer
      .u8(type, 'Type')
      .u8(subType, 'SubType')
      .u16le(data.length + NODE_HEADER_BYTES, 'Length')
      .bytes(data, 'node')
  return writer.finish()
}

/**
 * Short form of a path to a file on a partition: the firmware looks for the partition itself. `file` from its root,
 * with `/` or `\`. UEFI 2.10, 10.3.5.1 and 10.3.5.4. Throws FormatError for a GUID that is none.
 */
export function filePathOnPartition(partition: HardDriveNode, file: string): DevicePath {
  const drive = new ByteWriter({ what: 'hard drive node' })
    .u32le(partition.partition, 'PartitionNumber')
    .u64le(partition.start, 'PartitionStart')
    .u64le(partition.size, 'PartitionSize')
    .bytes(guidBytes(partition.guid), 'Signature')
    .u8(GPT_FORMAT, 'PartitionFormat')
    .u8(GUID_SIGNATURE, 'SignatureType')
    .finish()
  return {
    nodes: [
      { type: MEDIA, subType: 1, data: drive },
      { type: MEDIA, subType: 4, data: ucs2Bytes(`\\${file.replaceAll('/', '\\').replace(/^\\/, '')}`) },
    ],
  }
}

/**
 * The partition that a path leads to; undefined where it names none, or one of an MBR. UEFI 2.10, 10.3.5.1 (Hard
 * Drive). Throws FormatError for a node that is too short.
 */
export function hardDriveOf({ nodes }: DevicePath): HardDriveNode | undefined {
  const node = nodes.find(({ type, subType }) => type === MEDIA && subType === 1)
  if (node === undefined) return undefined
  const reader = new ByteReader(node.data, { what: 'hard drive node' })
  const partition = reader.u32le('PartitionNumber')
  const start = reader.u64le('PartitionStart')
  const size = reader.u64le('PartitionSize')
  const guid = guidText(reader.bytes(GUID_BYTES, 'Signature'))
  reader.skip(1, 'PartitionFormat')
  return reader.u8('SignatureType') === GUID_SIGNATURE ? { partition, start, size, guid } : undefined
}

/**
 * The file that a path leads to, with `\`; undefined where it names none. Throws FormatError. UEFI 2.10, 10.3.5.4 (File
 * Path).
 */
export function fileOf({ nodes }: DevicePath): string | undefined {
  const node = nodes.findLast(({ type, subType }) => type === MEDIA && subType === 4)
  return node && readUcs2(new ByteReader(node.data, { what: 'file path node' }), 'PathName')
}

/**
 * Text form (UEFI 2.10, 10.6.1) where it is short, `Path(type,subtype,hex)` for every other node. Throws FormatError.
 */
export function devicePathText(path: DevicePath): string {
  return path.nodes.map(nodeText).join('/')
}

function nodeText(node: DevicePathNode): string {
  const { type, subType, data } = node
  const reader = new ByteReader(data, { what: 'device path node' })
  const u8 = () => `0x${reader.u8('node').toString(16)}`
  const u32 = () => `0x${reader.u32le('node').toString(16)}`
  switch (type * 256 + subType) {
    case HARDWARE * 256 + 1: {
      const functionNumber = u8()
      return `Pci(${u8()},${functionNumber})`
    }
    case ACPI * 256 + 1:
      return acpiText(reader)
    case MEDIA * 256 + 1:
      return hardDriveText(node)
    case MEDIA * 256 + 4:
      return fileOf({ nodes: [node] }) ?? ''
    case MEDIA * 256 + 6:
      return `FvFile(${guidText(reader.bytes(GUID_BYTES, 'FvFileName'))})`
    case MEDIA * 256 + 7:
      return `Fv(${guidText(reader.bytes(GUID_BYTES, 'FvName'))})`
    case 3 * 256 + 2:
      return `Scsi(${reader.u16le('PUN')},${reader.u16le('LUN')})`
    case 3 * 256 + 23:
      return `NVMe(${u32()},${Buffer.from(reader.bytes(8, 'IEEE EUI-64')).reverse().toString('hex').match(/../g)?.join('-')})`
    case END * 256 + END_INSTANCE:
      return ','
    default:
      return `Path(${type},${subType},${Buffer.from(data).toString('hex')})`
  }
}

/** PNP0A03: `EISA_PNP_ID(0x0A03)`. */
const PCI_ROOT_HID = 0x0a0341d0

function acpiText(reader: ByteReader): string {
  const hid = reader.u32le('_HID')
  const uid = reader.u32le('_UID')
  return hid === PCI_ROOT_HID
    ? `PciRoot(0x${uid.toString(16)})`
    : `Acpi(0x${hid.toString(16)},0x${uid.toString(16)})`
}

function hardDriveText(node: DevicePathNode): string {
  const drive = hardDriveOf({ nodes: [node] })
  if (drive === undefined) return `Path(4,1,${Buffer.from(node.data).toString('hex')})`
  const { partition, guid, start, size } = drive
  return `HD(${partition},GPT,${guid},0x${start.toString(16)},0x${size.toString(16)})`
}
