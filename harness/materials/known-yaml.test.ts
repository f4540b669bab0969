import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { readKnownYaml } from './known-yaml.ts'

const schema = z.strictObject({ name: z.string(), count: z.number().default(3) })

async function fixture(t: Test) {
  const directory = t.testdir({ cache: {}, 'thing.yaml': 'name: one\n', 'schema.ts': 'first' })
  const before = process.env['ATTESTBED_CACHE']
  process.env['ATTESTBED_CACHE'] = join(directory, 'cache')
  t.teardown(() => {
    if (before === undefined) delete process.env['ATTESTBED_CACHE']
    else process.env['ATTESTBED_CACHE'] = before
  })
  const file = join(directory, 'thing.yaml')
  const code = join(directory, 'schema.ts')
  let loads = 0
  const read = () =>
    readKnownYaml(file, {
      load: async () => {
        loads += 1
        return schema
      },
      decidedBy: [code],
    })
  return { directory, file, code, read, loads: () => loads }
}

t.test('a file that was right is not parsed again until it or what decides on it changes', async (t) => {
  const { file, code, read, loads } = await fixture(t)
  t.strictSame(await read(), { name: 'one', count: 3 })
  t.strictSame(await read(), { name: 'one', count: 3 }, 'the same, defaults included')
  t.equal(loads(), 1)
  await writeFile(file, 'name: two\n')
  t.strictSame(await read(), { name: 'two', count: 3 })
  t.equal(loads(), 2)
  await writeFile(code, 'second')
  await read()
  t.equal(loads(), 3)
})

t.test('a file that is wrong is wrong every time', async (t) => {
  const { file, read, loads } = await fixture(t)
  await writeFile(file, 'name: one\ncuont: 4\n')
  for (const time of [1, 2]) {
    await t.rejects(read(), { name: 'UsageError', code: 'bad-config', message: /cuont/ })
    t.equal(loads(), time)
  }
})

t.test('a damaged or unwritable cache costs time, not the answer', async (t) => {
  const { directory, read, loads } = await fixture(t)
  await read()
  const known = join(directory, 'cache/yaml')
  for (const name of await readdir(known)) await writeFile(join(known, name), '{"name":')
  t.strictSame(await read(), { name: 'one', count: 3 })
  t.equal(loads(), 2)
  t.match(await readFile(join(known, (await readdir(known))[0] ?? ''), 'utf8'), '"one"', 'and is mended')
})

t.test('a file that does not exist is named', async (t) => {
  const { directory } = await fixture(t)
  const missing = join(directory, 'no.yaml')
  await t.rejects(readKnownYaml(missing, { load: async () => schema, decidedBy: [] }), {
    code: 'bad-config',
    message: /cannot read .*no[.]yaml/,
  })
})
