import t from 'tap'
import { refuses, refusesTruncation, survivesChangedBytes } from '../base/testing/refusals.ts'
import { parseWriteLog } from './write-log.ts'

const SECTOR = 512

interface Entry {
  readonly sector?: number
  readonly sectors?: number
  readonly flags?: number
  readonly data?: Buffer
  readonly mark?: string
}

function writeLog(entries: readonly Entry[]): Buffer {
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

const log = () =>
  writeLog([
    { sector: 3, sectors: 2, data: Buffer.alloc(1024, 'a') },
    { flags: 1 },
    { sector: 8, sectors: 8, flags: 4 },
    { flags: 8, mark: 'renamed' },
    { sector: 0, sectors: 1, flags: 2, data: Buffer.alloc(512, 'b') },
  ])

t.test('a write log gives writes, discards, flushes and marks in their order', async (t) => {
  const { sectorSize, writes } = parseWriteLog(log())
  t.equal(sectorSize, SECTOR)
  t.match(writes, [
    { kind: 'write', offset: 1536, size: 1024, data: Buffer.alloc(1024, 'a') },
    { kind: 'flush', offset: 0, size: 0 },
    { kind: 'discard', offset: 4096, size: 4096 },
    { kind: 'mark', data: Buffer.from('renamed') },
    { kind: 'write', offset: 0, size: 512, data: Buffer.alloc(512, 'b') },
  ])
})

t.test('what is no write log is refused, with the offset that says so', async (t) => {
  refusesTruncation(t, log(), parseWriteLog)
  survivesChangedBytes(t, log(), parseWriteLog)
  const wrong = (
    at: number,
    value: number,
    code: 'bad-value' | 'bad-magic' | 'too-large' | 'reserved-bit',
  ) => {
    const bytes = log()
    bytes.writeUInt8(value, at)
    return refuses(t, () => parseWriteLog(bytes), code)
  }
  wrong(0, 1, 'bad-magic')
  wrong(8, 2, 'bad-value')
  wrong(23, 1, 'too-large')
  wrong(24, 1, 'bad-value')
  wrong(SECTOR + 7, 0xff, 'too-large')
  for (let bit = 5; bit < 64; bit++) {
    const bytes = log()
    bytes.writeBigUInt64LE(1n << BigInt(bit), SECTOR + 16)
    refuses(t, () => parseWriteLog(bytes), 'reserved-bit', 'flags')
  }
})
