/** The data of events as UEFI firmware writes them, for tests. */
import { ByteWriter } from '../../../base/bytes.ts'
import { guidBytes } from '../../guid.ts'

/** UEFI_VARIABLE_DATA. */
export function variableEvent(guid: string, name: string, data: Uint8Array): Buffer {
  return new ByteWriter({ what: 'variable event' })
    .bytes(guidBytes(guid), 'guid')
    .u64le(BigInt(name.length), 'UnicodeNameLength')
    .u64le(BigInt(data.length), 'VariableDataLength')
    .bytes(Buffer.from(name, 'utf16le'), 'UnicodeName')
    .bytes(data, 'VariableData')
    .finish()
}

/** UEFI_IMAGE_LOAD_EVENT. */
export function imageLoadEvent(path: Uint8Array): Buffer {
  return new ByteWriter({ what: 'image event' })
    .u64le(0x1000n, 'ImageLocationInMemory')
    .u64le(0x2000n, 'ImageLengthInMemory')
    .u64le(0n, 'ImageLinkTimeAddress')
    .u64le(BigInt(path.length), 'LengthOfDevicePath')
    .bytes(path, 'DevicePath')
    .finish()
}

/** UEFI_GPT_DATA with one entry for each label. */
export function gptEvent(diskGuid: string, labels: readonly string[]): Buffer {
  const writer = new ByteWriter({ what: 'GPT event' }).bytes(Buffer.from('EFI PART'), 'Signature').zeros(48)
  writer.bytes(guidBytes(diskGuid), 'DiskGUID').zeros(12).u32le(128, 'SizeOfPartitionEntry').zeros(4)
  writer.u64le(BigInt(labels.length), 'NumberOfPartitions')
  for (const [index, label] of labels.entries()) {
    const name = Buffer.alloc(72)
    name.write(label, 'utf16le')
    writer.bytes(guidBytes('c12a7328-f81f-11d2-ba4b-00a0c93ec93b'), 'type').bytes(guidBytes(diskGuid), 'guid')
    writer
      .u64le(BigInt(index * 100), 'first')
      .u64le(BigInt(index * 100 + 99), 'last')
      .zeros(8)
      .bytes(name, 'name')
  }
  return writer.finish()
}

/** TCG_PCClientTaggedEvent. */
export function taggedEvent(id: number, text: string): Buffer {
  const data = Buffer.from(`${text}\0`)
  return new ByteWriter({ what: 'tagged event' })
    .u32le(id, 'id')
    .u32le(data.length, 'size')
    .bytes(data, 'data')
    .finish()
}

/** What systemd's stub gives as the description of an event. */
export function utf16z(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf16le')
}
