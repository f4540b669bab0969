/**
 * Logs of a disk's writes in their order, as QEMU's `blklogwrites` block driver leaves them: the format of Linux's
 * dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c). Little-endian; an
 * entry takes one sector, its data the sectors after it.
 */
import { ByteReader } from '../base/bytes.ts'

const MAGIC = Buffer.from('7268737766736a00', 'hex')
const VERSION = 1n
const ENTRY_BYTES = 32
const FLAGS = { flush: 1, discard: 4, mark: 8 } as const
/** Flush, force-unit-access, discard, mark, metadata. */
const KNOWN_FLAGS = 0x1f
/** An update makes some thousands; bounds what a hostile log makes us hold. */
const MOST_ENTRIES = 1 << 20

/** An entry of Linux' dm-log-writes: struct log_write_entry. Offsets and sizes in bytes. */
export interface LoggedWrite {
  /** `flush`: what was written before it is on the disk. */
  readonly kind: 'write' | 'discard' | 'flush' | 'mark'
  /** Of its entry, in the log. */
  readonly at: number
  /** In bytes, on the disk. */
  readonly offset: number
  readonly size: number
  /** Of a write; a view of the log. */
  readonly data: Uint8Array
}

/** The log of dm-log-writes (Linux, drivers/md/dm-log-writes.c); `sectorSize` in bytes. */
export interface WriteLog {
  readonly sectorSize: number
  readonly writes: readonly LoggedWrite[]
}

/**
 * Throws FormatError with the offset in the log. Linux, Documentation/admin-guide/device-mapper/log-writes.rst; offsets
 * in bytes.
 */
export function parseWriteLog(log: Uint8Array): WriteLog {
  const reader = new ByteReader(log, { what: 'write log' })
  reader.magic(MAGIC, 'magic')
  const version = reader.u64le('version')
  if (version !== VERSION) throw reader.error('bad-value', 'version', `is ${version}, must be ${VERSION}`, 8)
  const count = reader.u64le('nr_entries')
  if (count > BigInt(MOST_ENTRIES))
    throw reader.error('too-large', 'nr_entries', `is ${count}, at most ${MOST_ENTRIES} are allowed`, 16)
  const sectorSize = reader.u32le('sectorsize')
  if (![512, 1024, 2048, 4096].includes(sectorSize))
    throw reader.error('bad-value', 'sectorsize', `is ${sectorSize}; 512 to 4096 is required`, 24)
  reader.skip(sectorSize - reader.position, 'super block')
  return { sectorSize, writes: Array.from({ length: Number(count) }, () => readEntry(reader, sectorSize)) }
}

function readEntry(reader: ByteReader, sectorSize: number): LoggedWrite {
  const at = reader.offset
  const sector = reader.u64le('sector')
  const sectors = reader.u64le('nr_sectors')
  const flags = reader.u64le('flags')
  const markBytes = reader.u64le('data_len')
  reader.skip(sectorSize - ENTRY_BYTES, 'entry')
  if ((flags & ~BigInt(KNOWN_FLAGS)) !== 0n)
    throw reader.error('reserved-bit', 'flags', `is 0x${flags.toString(16)}, only 0x1f are known`, at + 16)
  const end = (sector + sectors) * BigInt(sectorSize)
  if (end > BigInt(Number.MAX_SAFE_INTEGER))
    throw reader.error(
      'too-large',
      'sector',
      `and nr_sectors end at ${end}, at most 2^53 - 1 is supported`,
      at,
    )
  const kind = kindOf(Number(flags), sectors)
  const place = { kind, at, offset: Number(sector) * sectorSize, size: Number(sectors) * sectorSize }
  if (kind === 'mark') {
    const words = reader.bytes(Math.min(Number(markBytes), sectorSize), 'mark')
    reader.skip(sectorSize - words.length, 'mark')
    return { ...place, data: words }
  }
  return { ...place, data: kind === 'write' ? reader.bytes(place.size, 'data') : new Uint8Array() }
}

function kindOf(flags: number, sectors: bigint): LoggedWrite['kind'] {
  if ((flags & FLAGS.mark) !== 0) return 'mark'
  if ((flags & FLAGS.discard) !== 0) return 'discard'
  return (flags & FLAGS.flush) !== 0 && sectors === 0n ? 'flush' : 'write'
}
