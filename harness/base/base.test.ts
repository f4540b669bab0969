import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { ByteReader, ByteWriter } from './bytes.ts'
import { DIGEST_LENGTHS, type DigestAlgorithm, digest, equalBytes, sha256Hex } from './digest.ts'
import { FormatError } from './errors.ts'
import { displayWidth, escapeControls, truncateToWidth, utf8SequenceLength } from './text.ts'

function formatError(run: () => unknown): FormatError {
  try {
    run()
  } catch (error) {
    if (error instanceof FormatError) return error
    throw error
  }
  throw new Error('no FormatError was thrown')
}

t.test('escapeControls', async (t) => {
  const samples: readonly (readonly [string, string | Uint8Array, string])[] = [
    ['C0 and ESC', 'a\x1b[31m\r\n\0b', 'a\\x1b[31m\\x0d\\x0a\\x00b'],
    ['DEL and C1', '\x7f\u{9b}', '\\x7f\\u{9b}'],
    ['bidi overrides and isolates', '\u202eab\u2066', '\\u{202e}ab\\u{2066}'],
    ['zero width and BOM', 'a\u200bb\ufeff', 'a\\u{200b}b\\u{feff}'],
    ['line and paragraph separators', '\u2028\u2029', '\\u{2028}\\u{2029}'],
    ['tag characters', '\u{e0041}', '\\u{e0041}'],
    ['lone surrogates', 'a\ud800b', 'a\\u{d800}b'],
    ['ordinary text of any script stays', 'naïve 日本 😀 \\', 'naïve 日本 😀 \\'],
    ['invalid UTF-8', Buffer.from([0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82, 0x62]), 'a\\xff\\xc3(\\xe2\\x82b'],
    ['overlong and surrogate UTF-8', Buffer.from('c080eda080', 'hex'), '\\xc0\\x80\\xed\\xa0\\x80'],
    ['valid UTF-8 bytes', Buffer.from('é\u202e'), 'é\\u{202e}'],
  ]
  for (const [title, input, expected] of samples) t.equal(escapeControls(input), expected, title)

  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const shown = escapeControls(bytes)
      return shown.isWellFormed() && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(shown)
    }),
  )
  t.pass('no byte string yields a control or a lone surrogate')
})

t.test('utf8SequenceLength agrees with the platform decoder on what is well formed', async (t) => {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const wellFormed = (bytes: Uint8Array): boolean => {
    try {
      decoder.decode(bytes)
      return true
    } catch {
      return false
    }
  }
  const ours = (bytes: Uint8Array): boolean => {
    for (let offset = 0; offset < bytes.length; ) {
      const length = utf8SequenceLength(bytes, offset)
      if (length === 0) return false
      offset += length
    }
    return true
  }
  const byte = fc.oneof(fc.constantFrom(0xe0, 0xed, 0xf0, 0xf4, 0x80, 0x9f, 0xa0, 0xbf, 0xc2), fc.nat(255))
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 5 }), (array) => {
      const bytes = Uint8Array.from(array)
      return ours(bytes) === wellFormed(bytes)
    }),
    { numRuns: 3000 },
  )
  t.pass('3000 strings')
})

t.test('truncateToWidth keeps to the columns', async (t) => {
  t.equal(truncateToWidth('short', 10), 'short')
  t.equal(truncateToWidth('exactly ten', 11), 'exactly ten')
  t.equal(truncateToWidth('a longer line', 8), 'a longe…')
  t.equal(truncateToWidth('日本語', 5), '日本…')
  t.equal(truncateToWidth('日本語', 4), '日…', 'a wide character is not cut in half')
  t.equal(truncateToWidth('abc', 0), '')
  t.ok(truncateToWidth(`a${'\u0301'.repeat(10_000)}`, 10).length < 60, 'combining marks cannot grow it')
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.nat(20), (text, columns) => {
      return displayWidth(truncateToWidth(escapeControls(text), columns)) <= columns
    }),
  )
})

t.test('ByteReader', async (t) => {
  const bytes = Buffer.from('0102030405060708090a0b0c0d0e0f10', 'hex')
  const reader = (): ByteReader => new ByteReader(bytes, { what: 'sample' })

  t.equal(reader().u8('A'), 1)
  t.equal(reader().u16le('A'), 0x0201)
  t.equal(reader().u16be('A'), 0x0102)
  t.equal(reader().u32le('A'), 0x04030201)
  t.equal(reader().u32be('A'), 0x01020304)
  t.equal(reader().u64le('A'), 0x0807060504030201n)
  t.equal(reader().u64be('A'), 0x0102030405060708n)

  const short = new ByteReader(Buffer.alloc(12), { what: 'SNP report', base: 0x48 })
  const truncated = formatError(() => short.bytes(64, 'REPORT_DATA'))
  t.equal(truncated.message, 'cannot parse SNP report at 0x48: REPORT_DATA needs 64 bytes, 12 remain')
  t.match(truncated, { code: 'truncated', field: 'REPORT_DATA', offset: 0x48 })
  t.equal(short.position, 0, 'a failed read does not move')

  const outer = reader()
  outer.skip(4, 'HEAD')
  const inner = outer.sub(4, 'BODY', 'body')
  inner.u16le('X')
  t.match(
    formatError(() => inner.u32le('Y')),
    { offset: 6, message: /body at 0x6: Y needs 4 bytes, 2 remain/ },
  )
  t.equal(outer.offset, 8, 'the outer reader continues after the inner one')

  const zeros = new ByteReader(Buffer.from([0, 0, 1]), { what: 'z' })
  t.match(
    formatError(() => zeros.mustBeZero(3, 'RSVD')),
    { code: 'reserved-bit', offset: 2 },
  )
  t.match(
    formatError(() => reader().magic(Buffer.from('PE'), 'SIGNATURE')),
    { code: 'bad-magic', offset: 0 },
  )
  t.match(
    formatError(() => reader().end()),
    { code: 'trailing-bytes' },
  )
  t.match(
    formatError(() => reader().bytes(-1, 'LEN')),
    { code: 'bad-value' },
  )
  t.match(
    formatError(() => reader().bytes(2 ** 60, 'LEN')),
    { code: 'bad-value' },
  )
  t.match(
    formatError(() => reader().seek(17, 'PTR')),
    { code: 'truncated' },
  )
  const atEnd = reader()
  atEnd.seek(16, 'END')
  atEnd.end()
})

t.test('ByteWriter writes what ByteReader reads, at any length', async (t) => {
  fc.assert(
    fc.property(
      fc.nat(0xff),
      fc.nat(0xffff),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
      fc.uint8Array({ maxLength: 600 }),
      (a, b, c, d, tail) => {
        const encoded = new ByteWriter({ what: 'w' })
          .bytes(tail, 'TAIL')
          .u8(a, 'A')
          .u16le(b, 'B')
          .u16be(b, 'B')
          .u32le(c, 'C')
          .u32be(c, 'C')
          .u64le(d, 'D')
          .u64be(d, 'D')
          .finish()
        const reader = new ByteReader(encoded, { what: 'w' })
        const ok =
          equalBytes(reader.bytes(tail.length, 'TAIL'), tail) &&
          reader.u8('A') === a &&
          reader.u16le('B') === b &&
          reader.u16be('B') === b &&
          reader.u32le('C') === c &&
          reader.u32be('C') === c &&
          reader.u64le('D') === d &&
          reader.u64be('D') === d
        reader.end()
        return ok
      },
    ),
  )
  const writer = new ByteWriter({ what: 'header' })
  t.match(
    formatError(() => writer.u8(256, 'SIZE')),
    {
      code: 'bad-value',
      message: /cannot encode header at 0x0: SIZE is 256/,
    },
  )
  t.match(
    formatError(() => writer.u64le(-1n, 'SIZE')),
    { code: 'bad-value' },
  )
  t.match(
    formatError(() => writer.bytes(Buffer.alloc(3), 'ID', 4)),
    { message: /has 3 bytes, must have 4/ },
  )
  t.match(
    formatError(() => writer.patch(0, Buffer.alloc(1), 'LEN')),
    { code: 'bad-value' },
  )
  t.equal(
    writer
      .u8(7, 'A')
      .align(4)
      .patch(1, Buffer.from([9]), 'B')
      .finish()
      .toString('hex'),
    '07090000',
  )
})

t.test('digests', async (t) => {
  t.equal(sha256Hex('ab', Buffer.from('c')), createHash('sha256').update('abc').digest('hex'))
  for (const [algorithm, length] of Object.entries(DIGEST_LENGTHS)) {
    t.equal(digest(algorithm as DigestAlgorithm, '').length, length, algorithm)
  }
  t.notOk(equalBytes(Buffer.from('a'), Buffer.from('ab')))
  t.notOk(equalBytes(Buffer.from('a'), Buffer.from('b')))
})
