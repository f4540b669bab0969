import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { findPoint } from '../bundle/find-run.ts'
import { signatureOf } from '../bundle/signature.ts'
import { bundleOf, fakePoint, RESULT } from '../bundle/testing/fake-point.ts'
import { exitCodeFor, repro, verdictLines } from './repro.ts'
import { openWith } from './repro-parts.ts'

const entry = { path: 'run/a.txt', content: Buffer.from('content') }

t.test(
  'repro --extract unpacks what the manifest names into a new directory, and into no other',
  async (t) => {
    const { runs } = await fakePoint()
    t.teardown(() => rm(runs, { recursive: true }))
    const [file, to] = [join(runs, 'x.attestbed'), join(runs, 'out')]
    await writeFile(file, bundleOf([entry]))
    t.equal(await repro(file, { extract: to }), 0)
    t.same((await readdir(to)).sort(), ['manifest.json', 'run'])
    t.equal(await readFile(join(to, 'run/a.txt'), 'utf8'), 'content')
    await t.rejects(repro(file, { extract: to }), { code: 'bad-value', message: /EEXIST; a new directory/ })
  },
)

t.test('a broken bundle is refused before anything else is looked at', async (t) => {
  const { runs } = await fakePoint()
  t.teardown(() => rm(runs, { recursive: true }))
  const file = join(runs, 'x.attestbed')
  await writeFile(file, bundleOf([{ ...entry, path: '../a' }]))
  let ran = 0
  const fake = async () => {
    ran += 1
    return { results: [RESULT] }
  }
  await t.rejects(repro(file, { yes: true }, fake), { name: 'FormatError', exitCode: 5 })
  t.equal(ran, 0, 'nothing ran')
})

t.test('the exit code says whether it was the same failure', async (t) => {
  const here = signatureOf(RESULT, '')
  const skipped = signatureOf({ ...RESULT, outcome: 'skip', reason: 'platform-unusable: x', claims: [] }, '')
  t.equal(exitCodeFor({ comparison: 'same failure', here }), 0)
  t.equal(exitCodeFor({ comparison: 'another failure', here }), 7)
  t.equal(exitCodeFor({ comparison: 'does not fail here', here }), 8)
  t.equal(exitCodeFor({ comparison: 'not tried', here: skipped }), 3)
  t.equal(exitCodeFor({ comparison: 'not tried', here }), 4)
})

t.test('the verdict names the materials that were others', async (t) => {
  const done = { comparison: 'same failure', here: signatureOf(RESULT, ''), result: RESULT } as const
  t.equal(verdictLines(done, { unlike: [] }).at(-1), 'same failure')
  t.match(verdictLines(done, { unlike: ['kernel'] }).at(-1), /^same failure, with other materials.*: kernel$/)
})

t.test('--with names a material once, and one that there is', async (t) => {
  const context = {} as Parameters<typeof openWith>[1]
  for (const words of [['firmware'], ['cpu=x'], ['firmware='], ['=x'], ['kernel=./a', 'kernel=./b']])
    await t.rejects(openWith(words, context), { code: 'bad-value' }, words.join(' '))
  await t.rejects(openWith(['kernel=./no-such-file'], context), { message: /there is no such file/ })
})

t.test(
  'a run is found by its name, by its path, as the last one; of several, the one that failed',
  async (t) => {
    const { runs, found } = await fakePoint()
    t.teardown(() => rm(runs, { recursive: true }))
    await writeFile(join(found.run, 'result.json'), JSON.stringify({ results: [RESULT] }))
    for (const name of ['last', '20261122T040000Z-0001', found.run, found.point])
      t.equal((await findPoint(runs, name)).point, found.point, name)
    await t.rejects(findPoint(runs, '20261122T040000Z-0002'), { code: 'bad-value', hint: /0001/ })
    await t.rejects(findPoint(join(runs, 'none'), 'last'), { code: 'bad-value', message: /no run/ })
    for (const text of ['{', 'null', '[]', '{"scenario":"a/b"}']) {
      await writeFile(join(found.run, 'result.json'), text)
      await t.rejects(findPoint(runs, found.run), { code: 'bad-value', message: /cannot read/ }, text)
    }
  },
)
