import t from 'tap'
import { type FormatCode, FormatError } from '../../base/errors.ts'
import { MAX_SYSTEMD_LOG_BYTES, parseSystemdLog } from './systemd-log.ts'

const PHASE = '51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed'
const digests = [{ hashAlg: 'sha256', digest: PHASE }]

/** As systemd 262 writes it. */
function record(fields: Record<string, unknown> = {}): Record<string, unknown> {
  const content = { string: 'enter-initrd', bootId: '0'.repeat(32), timestamp: 1, eventType: 'phase' }
  return { pcr: 11, digests, content_type: 'systemd', content, ...fields }
}

const line = (value: unknown): string => `\x1e${JSON.stringify(value)}\n`
const log = (...records: unknown[]): Buffer => Buffer.from(records.map(line).join(''))

t.test('each record says what it extended and what it calls it', async (t) => {
  const [pcr, rtmr, nv] = parseSystemdLog(
    log(
      record(),
      record({
        pcr: undefined,
        rtmr: 2,
        mapped_pcr: 11,
        digests: [{ hashAlg: 'sha384', digest: '00'.repeat(48) }],
      }),
      record({
        pcr: undefined,
        nv_index: 0x1d10200,
        content: { nvIndexName: 'hardware', string: 'product-id:x' },
      }),
    ),
  )
  t.match(pcr, { number: 0, offset: 0, register: { kind: 'pcr', index: 11 }, eventType: 'phase' })
  t.equal(pcr?.text, 'enter-initrd')
  t.equal(Buffer.from(pcr?.digests[0]?.bytes ?? '').toString('hex'), PHASE)
  t.match(rtmr, { register: { kind: 'rtmr', index: 2, mappedPcr: 11 } })
  t.match(nv, { register: { kind: 'nv-index', index: 0x1d10200, name: 'hardware' }, eventType: undefined })
  t.strictSame(parseSystemdLog(Buffer.alloc(0)), [])
})

t.test('digests of algorithms that we do not compute are left out', async (t) => {
  const [parsed] = parseSystemdLog(log(record({ digests: [...digests, { hashAlg: 'sm3', digest: 'aa' }] })))
  t.equal(parsed?.digests.length, 1)
})

t.test('a malformed record is refused with its offset', async (t) => {
  const cases: [string, Buffer, FormatCode, string][] = [
    ['no separator', Buffer.from('{}\n'), 'bad-magic', 'record separator'],
    ['not JSON', Buffer.from('\x1e{\n'), 'bad-value', 'record'],
    ['not UTF-8', Buffer.from([0x1e, 0x22, 0xff, 0x22, 0x0a]), 'bad-value', 'record'],
    ['a list', log([]), 'bad-value', 'record'],
    ['no register', log(record({ pcr: undefined })), 'bad-value', 'pcr'],
    ['two registers', log(record({ rtmr: 1 })), 'bad-value', 'pcr'],
    ['PCR 24', log(record({ pcr: 24 })), 'bad-value', 'pcr'],
    ['PCR -1', log(record({ pcr: -1 })), 'bad-value', 'pcr'],
    ['PCR as text', log(record({ pcr: '11' })), 'bad-value', 'pcr'],
    ['RTMR 4', log(record({ pcr: undefined, rtmr: 4 })), 'bad-value', 'rtmr'],
    ['NV index past 32 bits', log(record({ pcr: undefined, nv_index: 2 ** 32 })), 'bad-value', 'nv_index'],
    ['no digests', log(record({ digests: [] })), 'bad-value', 'digests'],
    [
      'digest not hex',
      log(record({ digests: [{ hashAlg: 'sha256', digest: 'zz' }] })),
      'bad-value',
      'digests',
    ],
    ['digest short', log(record({ digests: [{ hashAlg: 'sha256', digest: 'aa' }] })), 'bad-value', 'digest'],
    ['digest twice', log(record({ digests: [...digests, ...digests] })), 'bad-value', 'digests'],
    ['prototype as algorithm', log(record({ digests: [{ hashAlg: 'toString' }] })), 'bad-value', 'digests'],
    ['text is a number', log(record({ content: { string: 1 } })), 'bad-value', 'string'],
    ['huge', Buffer.alloc(MAX_SYSTEMD_LOG_BYTES + 1), 'too-large', 'log'],
    ['long record', Buffer.from(`\x1e"${'x'.repeat(70_000)}"\n`), 'truncated', 'record'],
    ['too many', Buffer.from(line({ pcr: 11, digests }).repeat(16_385)), 'too-large', 'log'],
  ]
  for (const [name, bytes, code, field] of cases)
    t.test(name, async (t) => {
      try {
        parseSystemdLog(bytes)
        t.fail('accepted')
      } catch (error) {
        t.ok(error instanceof FormatError, String(error))
        t.match(error, { code, field })
      }
    })
})

t.test('a log that is cut within a record is refused', async (t) => {
  const whole = log(record(), record())
  const boundary = whole.length / 2
  for (let length = 1; length < whole.length; length++)
    if (length === boundary) t.equal(parseSystemdLog(whole.subarray(0, length)).length, 1)
    else
      t.throws(() => parseSystemdLog(whole.subarray(0, length)), { name: 'FormatError', code: 'truncated' })
})
