import t from 'tap'
import { refusesToParse } from '../base/testing/rejects.ts'
import { JsonText } from './json-text.ts'

const LIMITS = { what: 'test', maxBytes: 1000, maxDepth: 4 }
const parse = (input: string | Uint8Array) => JsonText.parse(input, LIMITS)

t.test('every value comes with the text it was written as', async (t) => {
  const text = '{ "a" : [ 1.0 , {"x":"}]\\","} , [] ] ,\n"\\u0062":null,"c":"é\\u00e9", "":-0 }'
  const document = parse(Buffer.from(text))
  const members = document.members()
  t.strictSame([...(members?.keys() ?? [])], ['a', 'b', 'c', ''])
  t.equal(members?.get('a')?.text, '[ 1.0 , {"x":"}]\\","} , [] ]')
  t.strictSame(
    members
      ?.get('a')
      ?.elements()
      ?.map((element) => element.text),
    ['1.0', '{"x":"}]\\","}', '[]'],
  )
  t.strictSame(
    members
      ?.get('a')
      ?.elements()
      ?.map(({ value }) => value),
    [1, { x: '}]",' }, []],
  )
  t.equal(members?.get('c')?.bytes.toString('hex'), Buffer.from('"é\\u00e9"').toString('hex'))
  t.equal(members?.get('b')?.members(), undefined, 'null has no members')
  t.equal(members?.get('a')?.members(), undefined, 'an array has none')
  t.strictSame(parse('[]').elements(), [])
  t.strictSame([...(parse(' {} ').members()?.keys() ?? [])], [])
})

t.test('a key that JavaScript gives a meaning is a key like any other', async (t) => {
  const members = parse('{"__proto__":{"x":1},"constructor":2,"toString":3}').members()
  t.strictSame(
    [...(members ?? [])].map(([key, { value }]) => [key, value]),
    [
      ['__proto__', { x: 1 }],
      ['constructor', 2],
      ['toString', 3],
    ],
  )
})

t.test('what readers could take for different things is refused', async (t) => {
  const refused = (input: string | Uint8Array, code: 'bad-value' | 'too-large' | 'truncated' = 'bad-value') =>
    refusesToParse(t, () => parse(input), { code }, String(input).slice(0, 30))
  for (const text of ['{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '[{"b":{"c":1,"c":1}}]', '{"":1,"":2}'])
    refused(text)
  for (const text of [
    '',
    ' ',
    '{',
    '}',
    '[1,]',
    '{"a":1,}',
    '{a:1}',
    "{'a':1}",
    '{} {}',
    '01',
    '\ufeff{}',
    'nul',
    '{"a" 1}',
  ])
    refused(text)
  refused('{"a', 'truncated')
  refused('"\\"', 'truncated')
  refused(Buffer.from([0x22, 0xc3, 0x22]))
  refused(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))
  refused('[[[[[]]]]]', 'too-large')
  refused(`"${'x'.repeat(1000)}"`, 'too-large')
  t.ok(parse('[[[["[[[[["]]]]'), 'brackets in text are no depth')
})

t.test('the depth is bounded before anything looks at the text', async (t) => {
  const deep = '['.repeat(1_000_000)
  refusesToParse(t, () => JsonText.parse(deep, { ...LIMITS, maxBytes: 2_000_000 }), {
    code: 'too-large',
    offset: 4,
  })
})
