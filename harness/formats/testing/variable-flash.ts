import { crc32 } from 'node:zlib'
import { guidBytes } from '../guid.ts'
import { ucs2Bytes } from '../ucs2.ts'

/** A variable store made byte by byte from the specification, small enough to be truncated at every offset. */

export const FLASH = {
  blockSize: 512,
  blocks: 6,
  storeAt: 72,
  recordsAt: 100,
  recordsEnd: 1024,
  workingAt: 1536,
} as const
const FTW_ENTRY_BYTES = 40

export interface FlashRecord {
  readonly name: string
  readonly data: Uint8Array
  readonly guid?: string
  readonly state?: number
  readonly attributes?: number
}

export interface FlashWrite {
  /** Bits that are done, as the driver clears them. */
  readonly header: number
  readonly record: number
}

/**
 * FV header, variable store, an event log block, the working block, and two spare blocks. `moreBlocks`: as many blocks
 * more for records, and for what is spare.
 */
export function variableFlash(
  records: readonly FlashRecord[],
  writes: readonly FlashWrite[] = [],
  { moreBlocks = 0 } = {},
): Buffer {
  const more = moreBlocks * FLASH.blockSize
  const flash = Buffer.alloc(FLASH.blockSize * FLASH.blocks + 2 * more, 0xff)
  volumeHeader(flash.length).copy(flash)
  guidBytes('aaf32c78-947b-439a-a180-2e144ec37792').copy(flash, FLASH.storeAt)
  flash.writeUInt32LE(FLASH.recordsEnd + more - FLASH.storeAt, FLASH.storeAt + 16)
  Buffer.from([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]).copy(flash, FLASH.storeAt + 20)
  let at: number = FLASH.recordsAt
  for (const record of records) {
    const bytes = recordBytes(record)
    bytes.copy(flash, at)
    at += Math.ceil(bytes.length / 4) * 4
  }
  workingBlock(writes).copy(flash, FLASH.workingAt + more)
  return flash
}

export function volumeHeader(length: number): Buffer {
  const header = Buffer.alloc(72)
  guidBytes('fff12b8d-7696-4c8b-a985-2747075b4f50').copy(header, 16)
  header.writeBigUInt64LE(BigInt(length), 32)
  header.write('_FVH', 40)
  header.writeUInt32LE(0x0004feff, 44)
  header.writeUInt16LE(72, 48)
  header.writeUInt8(2, 55)
  header.writeUInt32LE(length / FLASH.blockSize, 56)
  header.writeUInt32LE(FLASH.blockSize, 60)
  return sumToZero(header)
}

/** Makes the checksum of the header at the start of `flash` right again. */
export function sumToZero(flash: Buffer): Buffer {
  flash.writeUInt16LE(0, 50)
  let sum = 0
  for (let at = 0; at < 72; at += 2) sum += flash.readUInt16LE(at)
  flash.writeUInt16LE(-sum & 0xffff, 50)
  return flash
}

function recordBytes({ name, data, guid, state = 0x3f, attributes = 7 }: FlashRecord): Buffer {
  const header = Buffer.alloc(60)
  const nameBytes = ucs2Bytes(name)
  header.writeUInt16LE(0x55aa, 0)
  header.writeUInt8(state, 2)
  header.writeUInt32LE(attributes, 4)
  header.writeUInt32LE(nameBytes.length, 36)
  header.writeUInt32LE(data.length, 40)
  guidBytes(guid ?? '8be4df61-93ca-11d2-aa0d-00e098032b8c').copy(header, 44)
  return Buffer.concat([header, nameBytes, data])
}

function workingBlock(writes: readonly FlashWrite[]): Buffer {
  const block = Buffer.alloc(FLASH.blockSize, 0xff)
  guidBytes('9e58292b-7c68-497d-a0ce-6500fd9f1b95').copy(block)
  block.writeBigUInt64LE(BigInt(FLASH.blockSize - 32), 24)
  block.writeUInt32LE(crc32(block.subarray(0, 32)), 16)
  block.writeUInt8(0xfe, 20)
  for (const [index, { header, record }] of writes.entries()) {
    const at = 32 + index * 2 * FTW_ENTRY_BYTES
    block.fill(0, at, at + 2 * FTW_ENTRY_BYTES)
    block.writeUInt8(0xff & ~header, at)
    block.writeBigUInt64LE(1n, at + 24)
    block.writeUInt8(0xff & ~record, at + FTW_ENTRY_BYTES)
  }
  return block
}
