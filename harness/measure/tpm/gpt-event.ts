/** PCR 5: the partition table of the disk that is booted from. UEFI_GPT_DATA, PC Client Profile 1.06, 10.2.7. */
import { ByteView } from '../../formats/byte-view.ts'
import { parseGpt } from '../../formats/gpt.ts'
import { known, type PredictedEvent } from './event.ts'

/** EFI_PARTITION_TABLE_HEADER; what the header's own size says beyond it is not measured. */
const HEADER_BYTES = 92
const ENTRY_TYPE_BYTES = 16

/** `start`: the disk up to the end of its primary table. Throws FormatError where that has no valid GPT. */
export function gptEvent(start: Uint8Array, { sectorSize = 512 } = {}): PredictedEvent {
  const { partitions } = parseGpt(start, { sectorSize })
  const view = new ByteView(start, 'GPT')
  const header = view.slice(sectorSize, HEADER_BYTES, 'header')
  const entriesAt = view.u64(sectorSize + 72, 'PartitionEntryLBA') * sectorSize
  const count = view.u32(sectorSize + 80, 'NumberOfPartitionEntries')
  const size = view.u32(sectorSize + 84, 'SizeOfPartitionEntry')
  const entries = Array.from({ length: count }, (_, index) =>
    view.slice(entriesAt + index * size, size, 'PartitionEntryArray'),
  ).filter((entry) => entry.subarray(0, ENTRY_TYPE_BYTES).some((byte) => byte !== 0))
  const number = Buffer.alloc(8)
  number.writeBigUInt64LE(BigInt(entries.length))
  return {
    ...{
      pcr: 5,
      type: 'EV_EFI_GPT_EVENT',
      from: 'disk',
      what: `partition table, ${partitions.length} partitions`,
    },
    content: known(header, number, ...entries),
  }
}
