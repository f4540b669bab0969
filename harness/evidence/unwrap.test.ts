/** Telling the kind of a file must not cost more than reading it. */
import t from 'tap'
import { refusesToParse } from '../base/testing/rejects.ts'
import { unwrap } from './unwrap.ts'

const of = (text: string) => unwrap({ evidence: Buffer.from(text), kind: 'tdx-quote' })

t.test('a quote in JSON is hex, in a document of limited size and depth, without a key twice', async (t) => {
  t.same(of(' {"quote":"04Ff","event_log":"[]"}').bytes, Buffer.from('04ff', 'hex'))
  const refuses = (text: string, expected: Parameters<typeof refusesToParse>[2]) =>
    refusesToParse(t, () => of(text), expected, text.slice(0, 40))
  refuses(`{"quote":${'['.repeat(20)}`, { code: 'too-large' })
  refuses(`{"quote":"${'00'.repeat(2 * 1024 * 1024)}"}`, { code: 'too-large' })
  refuses('{"quote":"04","quote":"05"}', { code: 'bad-value' })
  for (const text of ['{"quote":"040"}', '{"quote":4}', '{"quote":', '{}', '{"a":{"quote":"04"}}'])
    refuses(text, { code: 'bad-value' })
})
