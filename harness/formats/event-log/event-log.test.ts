import t, { type Test } from 'tap'
import { parse as parseYaml } from 'yaml'
import type { DigestAlgorithm } from '../../base/digest.ts'
import { type FormatCode, FormatError } from '../../base/errors.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { CCEL_TABLE_BYTES, parseCcelTable } from './ccel-table.ts'
import { EV, eventTypeName } from './event-types.ts'
import { MAX_EVENT_BYTES, MAX_EVENTS, MAX_LOG_BYTES, parseEventLog, startupLocality } from './parse.ts'
import { extend, initialValue, replayEventLog } from './replay.ts'
import { syntheticLog, syntheticSha1Log } from './testing/synthetic-log.ts'

function rejects(
  t: Test,
  bytes: Uint8Array,
  expected: { code: FormatCode; field?: string; offset?: number },
) {
  try {
    parseEventLog(bytes)
    t.fail(`accepted, FormatError ${expected.code} is required`)
  } catch (error) {
    t.ok(error instanceof FormatError, String(error))
    t.match(error, expected)
  }
}

const hex = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString('hex')
const SEPARATOR = Buffer.alloc(4)
const separators = [0, 1, 7].map((register) => ({ register, type: EV.SEPARATOR, data: SEPARATOR }))
const locality = (value: number) => ({
  register: 0,
  type: EV.NO_ACTION,
  data: Buffer.from(`StartupLocality\0${String.fromCharCode(value)}`),
})

// --- Own logs ---

t.test('a crypto-agile log gives its header, its banks and its events with their offsets', async (t) => {
  const log = parseEventLog(syntheticLog(separators, { banks: ['sha1', 'sha256', 'sha384', 'sha512'] }))
  t.match(log, { format: 'crypto-agile', specId: { version: '2.0', uintnBytes: 8 } })
  t.strictSame(
    log.banks.map(({ bank, digestBytes }) => [bank, digestBytes]),
    [
      ['sha1', 20],
      ['sha256', 32],
      ['sha384', 48],
      ['sha512', 64],
    ],
  )
  t.strictSame(
    log.events.map(({ number, register, type }) => [number, register, eventTypeName(type)]),
    [
      [0, 0, 'EV_NO_ACTION'],
      [1, 0, 'EV_SEPARATOR'],
      [2, 1, 'EV_SEPARATOR'],
      [3, 7, 'EV_SEPARATOR'],
    ],
  )
  t.equal(log.events[1]?.offset, 32 + 29 + 16)
  t.equal(log.trailer.length, 0)
})

t.test('a replay extends each bank on its own', async (t) => {
  const log = parseEventLog(syntheticLog(separators, { banks: ['sha1', 'sha256'] }))
  // The separator over a register at zero: the value that untouched PCRs have on every machine.
  t.equal(hex(replayEventLog(log, 'sha1').get(7)), 'b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236')
  t.equal(
    hex(replayEventLog(log, 'sha256').get(7)),
    '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  )
  t.equal(replayEventLog(log, 'sha384').size, 0, 'a bank that the log does not have gives nothing')
  t.strictSame([...replayEventLog(log, 'sha1').keys()], [0, 1, 7])
})

t.test('EV_NO_ACTION is never extended, whatever its digest says', async (t) => {
  const bytes = syntheticLog([...separators, { register: 7, type: EV.NO_ACTION, data: 'SP800-155 Event' }])
  const forged = Buffer.from(bytes)
  forged.fill(0xaa, bytes.length - 15 - 4 - 32, bytes.length - 15 - 4)
  t.strictSame(
    replayEventLog(parseEventLog(forged), 'sha256'),
    replayEventLog(parseEventLog(syntheticLog(separators)), 'sha256'),
  )
})

t.test('the locality of TPM2_Startup is where PCR 0 starts', async (t) => {
  const first = { register: 0, type: EV.S_CRTM_VERSION, data: 'v' }
  for (const value of [0, 3, 4]) {
    const log = parseEventLog(syntheticLog([locality(value), first]))
    t.equal(
      log.events.map(startupLocality).find((each) => each !== undefined),
      value,
    )
    const start = initialValue('sha256', value)
    t.strictSame(
      replayEventLog(log, 'sha256').get(0),
      extend('sha256', start, log.events[2]?.digests[0]?.bytes ?? Buffer.of()),
    )
  }
  rejects(t, syntheticLog([locality(1), first]), { code: 'bad-value', field: 'StartupLocality' })
  rejects(t, syntheticLog([first, locality(3)]), { code: 'bad-value', field: 'StartupLocality' })
  rejects(t, syntheticLog([locality(3), locality(3)]), { code: 'bad-value', field: 'StartupLocality' })
})

t.test('a hardware core root of trust that measured starts PCR 0 at 4', async (t) => {
  const hcrtm = { register: 0, type: EV.EFI_HCRTM_EVENT, data: 'HCRTM' }
  const log = parseEventLog(syntheticLog([hcrtm]))
  const digest = log.events[1]?.digests[0]?.bytes ?? Buffer.of()
  t.strictSame(
    replayEventLog(log, 'sha256').get(0),
    extend('sha256', Buffer.from(`${'00'.repeat(31)}04`, 'hex'), digest),
  )
})

t.test('padding of zeros or ones ends the log, and bytes behind the end mark are never events', async (t) => {
  const bytes = syntheticLog(separators)
  for (const tail of [Buffer.alloc(500), Buffer.alloc(4), Buffer.alloc(500, 0xff)]) {
    const log = parseEventLog(Buffer.concat([bytes, tail]))
    t.equal(log.events.length, 4)
    t.equal(log.bytesUsed, bytes.length)
    t.equal(log.trailer.length, tail.length)
  }
  const marked = parseEventLog(Buffer.concat([bytes, Buffer.alloc(4, 0xff), bytes]))
  t.equal(marked.events.length, 4, 'as Windows appends its key behind the last event')
  rejects(t, Buffer.concat([bytes, Buffer.alloc(40), Buffer.of(1)]), {
    code: 'bad-value',
    field: 'digests.count',
  })
})

t.test('events of unknown types are kept as they are', async (t) => {
  const log = parseEventLog(syntheticLog([{ register: 9, type: 0x402, data: 'x' }]))
  t.equal(eventTypeName(log.events[1]?.type ?? 0), '0x00000402')
  t.equal(hex(log.events[1]?.data), '78')
})

// --- Hostile logs ---

t.test('a log cut anywhere but between events is refused', async (t) => {
  for (const bytes of [
    syntheticLog(separators, { banks: ['sha1', 'sha384'] }),
    syntheticSha1Log(separators),
  ]) {
    const whole = parseEventLog(bytes)
    const ends = new Set(whole.events.slice(1).map(({ offset }) => offset))
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length)
      if (ends.has(length)) t.equal(parseEventLog(cut).bytesUsed, length)
      // One to three zero bytes of an index look like padding, which is no event either.
      else if (
        cut.subarray(Math.max(0, ...[...ends].filter((end) => end < length))).every((byte) => byte === 0)
      )
        t.equal(parseEventLogOrCode(cut).length > 0, true)
      else rejects(t, cut, { code: 'truncated' })
    }
  }
})

function parseEventLogOrCode(bytes: Uint8Array): string {
  try {
    return `${parseEventLog(bytes).events.length} events`
  } catch (error) {
    if (error instanceof FormatError) return error.code
    throw error
  }
}

t.test('every count and length of a log is checked before it is used', async (t) => {
  const bytes = syntheticLog(separators, { banks: ['sha1', 'sha256'] })
  const patched = (offset: number, value: number, size = 4): Buffer => {
    const copy = Buffer.from(bytes)
    copy.writeUIntLE(value, offset, size)
    return copy
  }
  const body = 32
  const event = body + 37
  const cases: [string, Buffer, { code: FormatCode; field: string; offset?: number }][] = [
    ['header digest', patched(20, 1, 1), { code: 'reserved-bit', field: 'digest', offset: 20 }],
    // Without its content it is no header: what follows is read as a SHA-1 log.
    ['header event size 0', patched(28, 0), { code: 'bad-value', field: 'pcrIndex', offset: 32 }],
    [
      'header event size max',
      patched(28, 0xffff_ffff),
      { code: 'too-large', field: 'eventSize', offset: 28 },
    ],
    ['uintn 0', patched(body + 23, 0, 1), { code: 'bad-value', field: 'uintnSize', offset: body + 23 }],
    ['uintn 3', patched(body + 23, 3, 1), { code: 'bad-value', field: 'uintnSize' }],
    [
      'no banks',
      patched(body + 24, 0),
      { code: 'bad-value', field: 'numberOfAlgorithms', offset: body + 24 },
    ],
    ['one bank', patched(body + 24, 1), { code: 'truncated', field: 'vendorInfo' }],
    ['17 banks', patched(body + 24, 17), { code: 'bad-value', field: 'numberOfAlgorithms' }],
    ['max banks', patched(body + 24, 0xffff_ffff), { code: 'bad-value', field: 'numberOfAlgorithms' }],
    [
      'bank length 0',
      patched(body + 30, 0, 2),
      { code: 'bad-value', field: 'digestSize', offset: body + 30 },
    ],
    ['bank length max', patched(body + 30, 0xffff, 2), { code: 'bad-value', field: 'digestSize' }],
    ['bank twice', patched(body + 28, 0x20_000b), { code: 'bad-value', field: 'algorithmId' }],
    ['vendor info 1', patched(body + 36, 1, 1), { code: 'truncated', field: 'vendorInfo' }],
    ['vendor info max', patched(body + 36, 255, 1), { code: 'truncated', field: 'vendorInfo' }],
    ['register 24', patched(event, 24), { code: 'bad-value', field: 'pcrIndex', offset: event }],
    ['register max - 1', patched(event, 0xffff_fffe), { code: 'bad-value', field: 'pcrIndex' }],
    ['no digest', patched(event + 8, 0), { code: 'bad-value', field: 'digests.count', offset: event + 8 }],
    ['one digest', patched(event + 8, 1), { code: 'bad-value', field: 'digests.count' }],
    ['max digests', patched(event + 8, 0xffff_ffff), { code: 'bad-value', field: 'digests.count' }],
    ['unknown bank', patched(event + 12, 0x1234, 2), { code: 'bad-value', field: 'hashAlg' }],
    ['bank twice', patched(event + 12 + 22, 4, 2), { code: 'bad-value', field: 'hashAlg' }],
    ['event size max', patched(event + 12 + 56, 0xffff_ffff), { code: 'too-large', field: 'eventSize' }],
    ['event size past the end', patched(event + 12 + 56, 100_000), { code: 'truncated', field: 'event' }],
  ]
  for (const [name, input, expected] of cases) {
    t.test(name, async (t) => rejects(t, input, expected))
  }
})

t.test('a log may not be longer, or have more or longer events, than there is a use for', async (t) => {
  rejects(t, Buffer.alloc(MAX_LOG_BYTES + 1), { code: 'too-large', field: 'log' })
  const many = Array.from({ length: MAX_EVENTS + 1 }, () => ({ register: 1, type: EV.ACTION, data: '' }))
  rejects(t, syntheticSha1Log(many), { code: 'too-large', field: 'log' })
  const long = { register: 1, type: EV.ACTION, data: Buffer.alloc(MAX_EVENT_BYTES + 1) }
  rejects(t, syntheticSha1Log([long]), { code: 'too-large', field: 'eventSize' })
})

// --- The CCEL table ---

function ccelTable(): Buffer {
  const table = Buffer.alloc(CCEL_TABLE_BYTES)
  table.write('CCEL')
  table.writeUInt32LE(CCEL_TABLE_BYTES, 4)
  table[36] = 2
  table.writeBigUInt64LE(0x10000n, 40)
  table.writeBigUInt64LE(0x7d64_9000n, 48)
  table[9] = 256 - (table.reduce((sum, byte) => sum + byte) % 256)
  return table
}

t.test('the CCEL table says where the log lies', async (t) => {
  const table = ccelTable()
  t.strictSame(parseCcelTable(table), {
    ccType: 2,
    ccSubtype: 0,
    logBytes: 0x10000n,
    logAddress: 0x7d64_9000n,
    checksumValid: true,
  })
  table[48] = 1
  t.equal(parseCcelTable(table).checksumValid, false)
  for (let length = 0; length < CCEL_TABLE_BYTES; length++)
    t.throws(() => parseCcelTable(table.subarray(0, length)), { code: 'truncated' })
  t.throws(() => parseCcelTable(Buffer.concat([table, Buffer.of(0)])), { code: 'trailing-bytes' })
  for (const offset of [38, 39]) {
    const reserved = ccelTable()
    reserved[offset] = 1
    t.throws(() => parseCcelTable(reserved), { code: 'reserved-bit', offset })
  }
  t.throws(() => parseCcelTable(Buffer.from(`XXEL${'0'.repeat(52)}`)), { code: 'bad-magic' })
  for (const length of [0, 1, 55, 57, 0xffff_ffff]) {
    const wrong = ccelTable()
    wrong.writeUInt32LE(length, 4)
    t.throws(() => parseCcelTable(wrong), { code: 'bad-value', field: 'Length' })
  }
})

// --- Logs of real machines ---

interface LogCase {
  readonly file: string
  readonly expected: {
    readonly event_count_incl_header: number
    readonly log_bytes_used: number
    readonly digest_algs: readonly DigestAlgorithm[]
    readonly format: string
    readonly final: Readonly<Record<string, Readonly<Record<string, string>>>>
    readonly go_eventlog_pcrs?: Readonly<Record<string, Readonly<Record<string, string>>>>
  }
}

t.test(
  'logs of real machines replay to the values that others computed',
  { skip: vectorsMissing },
  async (t) => {
    const { vectors } = parseYaml(vectorText('index.yaml')) as { vectors: LogCase[] }
    const logs = vectors.filter(({ expected }) => expected?.event_count_incl_header !== undefined)
    t.equal(logs.length, 25, 'as many as there were when this test was written')
    for (const { file, expected } of logs)
      t.test(file, async (t) => {
        const log = parseEventLog(vector(file))
        t.equal(log.events.length, expected.event_count_incl_header)
        t.equal(log.bytesUsed, expected.log_bytes_used)
        t.equal(log.format === 'sha1', expected.format.startsWith('SHA1'))
        t.strictSame(
          log.banks.map(({ bank }) => bank),
          expected.digest_algs,
        )
        for (const bank of expected.digest_algs) {
          const replayed = replayEventLog(log, bank)
          const values = Object.fromEntries([...replayed].map(([index, value]) => [`${index}`, hex(value)]))
          t.strictSame(values, expected.final[bank], bank)
          for (const [index, value] of Object.entries(expected.go_eventlog_pcrs?.[bank] ?? {}))
            t.equal(values[index], value, `PCR ${index} of another implementation`)
        }
      })
  },
)

t.test("a cloud's CCEL table is read", { skip: vectorsMissing }, async (t) => {
  t.match(parseCcelTable(vector('eventlog/ccel.table.bin')), { ccType: 2, ccSubtype: 0, logBytes: 0x10000n })
})
