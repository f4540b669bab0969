const SECTOR = 512

export interface LogEntry {
  readonly sector?: number
  readonly sectors?: number
  readonly flags?: number
  readonly data?: Buffer
  readonly mark?: string
}

/** A log of writes as `blklogwrites` leaves it, made by the format's description. */
export function writeLog(entries: readonly LogEntry[]): Buffer {
  const head = Buffer.alloc(SECTOR)
  head.writeBigUInt64LE(0x6a736677736872n, 0)
  head.writeBigUInt64LE(1n, 8)
  head.writeBigUInt64LE(BigInt(entries.length), 16)
  head.writeUInt32LE(SECTOR, 24)
  const pieces = entries.flatMap(({ sector = 0, sectors = 0, flags = 0, data, mark }) => {
    const entry = Buffer.alloc(SECTOR)
    entry.writeBigUInt64LE(BigInt(sector), 0)
    entry.writeBigUInt64LE(BigInt(sectors), 8)
    entry.writeBigUInt64LE(BigInt(flags), 16)
    entry.writeBigUInt64LE(BigInt(mark?.length ?? 0), 24)
    const words = mark === undefined ? [] : [Buffer.alloc(SECTOR, 0), Buffer.from(mark)]
    if (words[0] && words[1]) words[1].copy(words[0])
    return [entry, ...(data ? [data] : []), ...words.slice(0, 1)]
  })
  return Buffer.concat([head, ...pieces])
}

/** A line of QEMU's trace. */
export const tracedWrite = (node: string, offset: number, size: number) =>
  `2026-11-22T10:32:29.300586Z bdrv_co_pwritev_part bs ${node} offset ${offset} bytes ${size} flags 0x0\n`
