import t from 'tap'
import { digest } from '../../base/digest.ts'
import { vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import type { TdvfSection } from '../../formats/ovmf/tdvf-metadata.ts'
import { tdHob } from './td-hob.ts'

function section(type: TdvfSection['type'], gpa: number, size: number): TdvfSection {
  return { type, gpa, size, dataOffset: 0, dataSize: 0, extended: false, augmented: false }
}

/** Two of them equal events that TDX modules signed. */
interface Vectors {
  readonly vectors: readonly {
    readonly mem_bytes: number
    readonly td_hob_base: number
    readonly tempmem_and_hob_sections: readonly (readonly [gpa: string, size: string])[]
    readonly hob_len: number
    readonly hob_sha384: string
    readonly note: string
  }[]
}

t.test('TD HOBs of the vectors', { skip: vectorsMissing }, async (t) => {
  const { vectors }: Vectors = JSON.parse(vectorText('measure/td_hob_vectors.json'))
  t.ok(vectors.length >= 5)
  for (const vector of vectors) {
    const sections = vector.tempmem_and_hob_sections.map(([gpa, size]) =>
      section(Number(gpa) === vector.td_hob_base ? 'td-hob' : 'temp-mem', Number(gpa), Number(size)),
    )
    const hob = tdHob(sections, vector.mem_bytes)
    t.equal(hob.length, vector.hob_len, vector.note)
    t.equal(digest('sha384', hob).toString('hex'), vector.hob_sha384, `${vector.mem_bytes}: ${vector.note}`)
  }
})

t.test('tdHob refuses memory that does not hold the sections, and parts of pages', async (t) => {
  const sections = [section('td-hob', 0x809000, 0x2000)]
  t.throws(() => tdHob(sections, 0x80a000), { name: 'UsageError', message: /0x809000/ })
  t.throws(() => tdHob(sections, 0x1000_0001), { name: 'UsageError' })
  t.throws(() => tdHob([], 0x1000_0000), { name: 'UsageError' })
  t.throws(() => tdHob(sections, 0), { name: 'UsageError' })
})
