import t from 'tap'
import { refuses, refusesTruncation, survivesChangedBytes } from '../base/testing/refusals.ts'
import { distinctStates, stateAfter } from './disk-states.ts'
import { tracedWrite as traced, writeLog } from './testing/write-logs.ts'
import { parseWriteLog } from './write-log.ts'
import { parseWriteTrace, positionsOf } from './write-trace.ts'

const SECTOR = 512

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
    { kind: 'write', at: 512, offset: 1536, size: 1024, data: Buffer.alloc(1024, 'a') },
    { kind: 'flush', at: 2048, offset: 0, size: 0 },
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

t.test('a trace gives the order of entries of several logs, and of TPM commands between them', async (t) => {
  const disk = parseWriteLog(
    writeLog([
      { sector: 3, sectors: 2, data: Buffer.alloc(1024, 'a') },
      { flags: 1 },
      { sector: 9, sectors: 1, data: Buffer.alloc(512) },
    ]),
  )
  const flash = parseWriteLog(writeLog([{ sector: 4, sectors: 1, data: Buffer.alloc(512, 'f') }]))
  const trace = [
    // The disk's own node is written first, and its write looks like an entry of the other log.
    traced('0x1', 512, 1024),
    traced('0xd', 512, 1536),
    traced('0xd', 0, 512),
    'qemu-system-x86_64: warning: something else\n',
    '2026-11-22T10:32:29.500586Z tpm_emulator_handle_request processing TPM command\n',
    traced('0xf', 512, 1024),
    traced('0xf', 0, 512),
    traced('0xd', 2048, 512),
    // Zeros are logged by a write of their own, behind the entry.
    traced('0xd', 2560, 512),
    traced('0xd', 3072, 512),
  ].join('')
  const events = parseWriteTrace(`${trace}2026-11-22T10:32:29.30`)
  t.equal(events.length, 9, 'other lines, and one that was cut off, are no events')
  t.strictSame(events[3], { kind: 'tpm-command', at: Date.parse('2026-11-22T10:32:29.500Z') })
  t.strictSame(positionsOf(disk, events), [1, 6, 7])
  const own = events.filter((event) => event.kind !== 'write' || event.node !== '0x1')
  t.strictSame(positionsOf(flash, own), [3])
  refuses(t, () => positionsOf(disk, events.slice(0, 7)), 'bad-value', 'bdrv_co_pwritev_part')
})

t.test('the time of a TPM command is read as any QEMU writes it, or the trace is refused', async (t) => {
  const event = 'tpm_emulator_handle_request processing TPM command\n'
  const at = Date.parse('2026-11-22T10:32:29.500Z')
  const older = `1234@${Math.floor(at / 1000)}.500586:`
  for (const time of ['2026-11-22T10:32:29.500586Z ', older])
    t.strictSame(parseWriteTrace(`${time}${event}`), [{ kind: 'tpm-command', at }])
  t.match(parseWriteTrace('1@2.000003:bdrv_co_pwritev_part bs 0x1 offset 0 bytes 512 flags 0x0\n'), [
    { kind: 'write', node: '0x1', offset: 0, size: 512 },
  ])
  for (const time of ['', '1234@1763807549:', '2026-99-22T10:32:29.500586Z '])
    refuses(t, () => parseWriteTrace(`${time}${event}`), 'bad-value', 'timestamp')
})

const write = (offset: number, data: Buffer) => ({
  kind: 'write' as const,
  at: 0,
  offset,
  size: data.length,
  data,
})
const flush = { kind: 'flush' as const, at: 0, offset: 0, size: 0, data: new Uint8Array() }

t.test('states that are equal in content are one, however the disk came there', async (t) => {
  const before = Buffer.alloc(4 * SECTOR, 'o')
  const [a, b, old] = [Buffer.alloc(SECTOR, 'a'), Buffer.alloc(2 * SECTOR, 'b'), Buffer.alloc(SECTOR, 'o')]
  const writes = [
    write(0, a),
    flush,
    write(SECTOR, b),
    write(0, a),
    write(0, old),
    write(SECTOR, old),
    write(0, a),
  ]
  const states = distinctStates(before, writes)
  const contents = writes.map((_, index) => stateAfter(before, writes, index + 1).toString('hex'))
  const expected = new Set([before.toString('hex'), ...contents])
  t.equal(states.length, expected.size)
  t.strictSame(
    states.map(({ after }) => after),
    [0, 1, 3, 5, 6, 7],
  )
  t.equal(
    new Set(states.map(({ after }) => stateAfter(before, writes, after).toString('hex'))).size,
    states.length,
  )
  refuses(t, () => distinctStates(before, [write(3 * SECTOR, b)]), 'too-large')
  refuses(t, () => stateAfter(before, [write(3 * SECTOR, b)], 1), 'too-large')
})

t.test('the keys of random writes agree with the contents', async (t) => {
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % below
  }
  const before = Buffer.alloc(3 * SECTOR)
  const writes = Array.from({ length: 200 }, () => write(random(3) * SECTOR, Buffer.alloc(SECTOR, random(3))))
  const contents = new Set(
    [...writes, flush].map((_, index) => stateAfter(before, writes, index).toString('hex')),
  )
  t.equal(distinctStates(before, writes).length, contents.size)
})
