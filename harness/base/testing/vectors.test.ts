import t from 'tap'
import { parse } from 'yaml'
import { sha256Hex } from '../digest.ts'
import { vector, vectorsMissing, vectorText } from './vectors.ts'

t.test('every vector has the SHA-256 that its index names', { skip: vectorsMissing }, async (t) => {
  const { vectors }: { vectors: readonly { file: string; sha256: string }[] } = parse(
    vectorText('index.yaml'),
  )
  t.ok(vectors.length > 100, 'the index is not empty')
  for (const { file, sha256 } of vectors) t.equal(sha256Hex(vector(file)), sha256, file)
})
