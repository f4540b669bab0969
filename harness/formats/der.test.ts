import fc from 'fast-check'
import t from 'tap'
import { FormatError } from '../base/errors.ts'
import { outcomeOf, refusesToParse, refusesTruncation } from '../base/testing/rejects.ts'
import { contextTag, DerReader, TAG } from './der.ts'
import * as write from './testing/der-writer.ts'

const read = (hex: string | Uint8Array): DerReader =>
  new DerReader(typeof hex === 'string' ? Buffer.from(hex, 'hex') : hex, { what: 'test', base: 0x100 })

t.test('DerReader gives elements with their bytes and offsets in the outermost structure', async (t) => {
  const reader = read('30080201050403aabbcc0500')
  const inner = reader.sequence('outer')
  t.equal(inner.offset, 0x102)
  t.equal(inner.smallInteger('number', 10), 5)
  const { content, raw, offset, contentOffset } = inner.any('octets')
  t.same([offset, contentOffset], [0x105, 0x107])
  t.equal(Buffer.from(content).toString('hex'), 'aabbcc')
  t.equal(Buffer.from(raw).toString('hex'), '0403aabbcc')
  inner.end('outer')
  reader.null('null')
  t.ok(reader.done)
})

t.test('DerReader reads what the writer wrote, whatever the length of its length', async (t) => {
  for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536])
    t.equal(read(write.octetString(Buffer.alloc(length, 7))).octetString('field').length, length)
  for (const text of [
    '1.2.840.113549.1.1.10',
    '2.5.29.15',
    '2.16.840.1.101.3.4.2.2',
    '1.3.6.1.4.1.3704.1.3.8',
    '0.9',
  ])
    t.equal(read(write.oid(text)).oid('field'), text)
  for (const date of [
    '1999-12-31T23:59:59Z',
    '2049-12-31T00:00:00Z',
    '2050-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
  ])
    t.equal(Number(read(write.time(new Date(date))).time('field')), Date.parse(date))
  t.equal(Number(read(write.der(0x17, Buffer.from('500101000000Z'))).time('field')), Date.parse('1950-01-01'))
  t.same(read(write.bitString(Buffer.from([0xa0]), 5)).bitString('field'), {
    unusedBits: 5,
    bytes: Buffer.from([0xa0]),
  })
})

t.test('DerReader gives undefined for an optional field that is absent', async (t) => {
  const reader = read('0500')
  t.equal(reader.optional(TAG.integer, 'field'), undefined)
  t.equal(reader.explicit(0, 'field'), undefined)
  t.equal(contextTag(1, 'primitive'), 0x81)
  t.equal(contextTag(3, 'constructed'), 0xa3)
  reader.null('field')
  t.equal(reader.peek(), undefined)
})

const MALFORMED: readonly (readonly [string, string, (reader: DerReader) => unknown])[] = [
  ['an indefinite length', '3080020100', (r) => r.sequence('field')],
  ['a length of five bytes', '04850000000001aa', (r) => r.any('field')],
  ['a length in a longer form than it needs', '048101aa', (r) => r.any('field')],
  ['a length with a leading zero', '04820080' + 'aa'.repeat(128), (r) => r.any('field')],
  ['a tag number above 30', '1f8101', (r) => r.any('field')],
  ['another tag', '0500', (r) => r.read(TAG.integer, 'field')],
  ['an INTEGER of no bytes', '0200', (r) => r.integerBytes('field')],
  ['a padded positive INTEGER', '02020001', (r) => r.integerBytes('field')],
  ['a padded negative INTEGER', '0202ff80', (r) => r.integerBytes('field')],
  ['a negative INTEGER', '0201ff', (r) => r.smallInteger('field', 10)],
  ['an INTEGER above its limit', '02010b', (r) => r.smallInteger('field', 10)],
  ['an INTEGER of 64 bits', '02087fffffffffffffff', (r) => r.smallInteger('field', 10)],
  ['a BOOLEAN of 1', '010101', (r) => r.boolean('field')],
  ['a BOOLEAN of two bytes', '0102ffff', (r) => r.boolean('field')],
  ['a NULL with content', '050100', (r) => r.null('field')],
  ['a BIT STRING of no bytes', '0300', (r) => r.bitString('field')],
  ['a BIT STRING of 8 unused bits', '030208ff', (r) => r.bitString('field')],
  ['a BIT STRING with set unused bits', '030201ff', (r) => r.bitString('field')],
  ['a BIT STRING of unused bits alone', '030101', (r) => r.bitString('field')],
  ['an OID of no bytes', '0600', (r) => r.oid('field')],
  ['an OID that is cut off', '06022a86', (r) => r.oid('field')],
  ['an OID with a padded number', '06032a8001', (r) => r.oid('field')],
  ['an OID with a huge number', '060a2affffffffffffffff7f', (r) => r.oid('field')],
  ['an OID of 65 bytes', `0641${'01'.repeat(65)}`, (r) => r.oid('field')],
  ['a time of another type', '0c0d3235303130313030303030305a', (r) => r.time('field')],
  ['a time without seconds', `170b${Buffer.from('2501010000Z').toString('hex')}`, (r) => r.time('field')],
  [
    'a time with an offset',
    `1711${Buffer.from('250101000000+0100').toString('hex')}`,
    (r) => r.time('field'),
  ],
  ['a 30th of February', `170d${Buffer.from('250230000000Z').toString('hex')}`, (r) => r.time('field')],
  ['a 25th hour', `170d${Buffer.from('250101250000Z').toString('hex')}`, (r) => r.time('field')],
  ['a time with letters', `170d${Buffer.from('2501010000xxZ').toString('hex')}`, (r) => r.time('field')],
]

t.test('DerReader refuses every other encoding of a value', async (t) => {
  for (const [name, hex, readField] of MALFORMED)
    refusesToParse(t, () => readField(read(hex)), { code: 'bad-value', field: 'field' }, name)
})

t.test('DerReader refuses what is cut off, left over, or nested too deep', async (t) => {
  const bytes = write.sequence(write.integer(300), write.octetString(Buffer.alloc(300)))
  refusesTruncation(t, bytes, (cut) => {
    const inner = read(cut).sequence('field')
    inner.any('number')
    inner.any('octets')
  })
  refusesToParse(t, () => read('0405aabb').any('field'), { code: 'truncated', offset: 0x100 })
  refusesToParse(t, () => read('').read(TAG.null, 'field'), { code: 'truncated', offset: 0x100 })
  refusesToParse(t, () => read('05000500').end('field'), { code: 'trailing-bytes' })
  let nested: Uint8Array = write.nothing()
  for (let depth = 0; depth < 40; depth++) nested = write.sequence(nested)
  refusesToParse(
    t,
    () => {
      for (let reader = read(nested); ; ) reader = reader.sequence('field')
    },
    { code: 'too-large', field: 'field' },
  )
})

t.test('DerReader answers any bytes with elements or a FormatError', async (t) => {
  const readers = [...MALFORMED.map(([, , readField]) => readField), (r: DerReader) => r.any('field')]
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(readers.length - 1), (bytes, index) => {
      const outcome = outcomeOf(() => readers[index]?.(read(bytes)))
      return outcome === 'accepted' || outcome instanceof FormatError
    }),
    { numRuns: 5000 },
  )
  t.pass('5000 inputs')
})
