import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { countInFile } from './search.ts'

const CHUNK = 4 * 1024 * 1024

t.test('finds what lies across a chunk border, and counts what repeats', async (t) => {
  const needle = Buffer.from('canary-0123456789abcdef')
  const bytes = Buffer.alloc(2 * CHUNK + 1000, 0x63)
  const places = [
    0,
    CHUNK - 5,
    CHUNK + 100,
    CHUNK + 100 + needle.length,
    2 * CHUNK - 1,
    bytes.length - needle.length,
  ]
  for (const place of places) needle.copy(bytes, place)
  const file = join(t.testdir(), 'disk')
  await writeFile(file, bytes)
  t.equal(await countInFile(file, needle), places.length)
})

t.test('does not find what is not there, and no stale bytes of an earlier chunk', async (t) => {
  const file = join(t.testdir(), 'disk')
  const bytes = Buffer.alloc(CHUNK + 10)
  bytes.write('canary', CHUNK - 100)
  await writeFile(file, bytes)
  t.equal(await countInFile(file, Buffer.from('canary')), 1)
  t.equal(await countInFile(file, Buffer.from('canarY')), 0)
  await writeFile(file, 'short')
  t.equal(await countInFile(file, Buffer.from('shorter')), 0)
})
