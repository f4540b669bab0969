import { renameSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { LoggedWrite } from '../../formats/write-log.ts'
import { CutDisk } from './cut-disk.ts'
import { VtpmVersions } from './vtpm-versions.ts'

const SECTOR = 512

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

const write = (sector: number, letter: string, sectors = 1): LoggedWrite => {
  const data = Buffer.alloc(sectors * SECTOR, letter)
  return { kind: 'write', at: 0, offset: sector * SECTOR, size: data.length, data }
}

t.test('a disk goes to any state, forwards and backwards, and to one without a lost write', async (t) => {
  const file = join(await scratch(t), 'disk.raw')
  const before = Buffer.alloc(8 * SECTOR, '.')
  await writeFile(file, before)
  const earlier = [write(7, 'e')]
  const writes = [
    write(0, 'a', 3),
    write(1, 'b'),
    { ...write(4, 'x'), kind: 'discard' as const },
    write(2, 'c', 4),
  ]
  const expected = (some: readonly LoggedWrite[]) => {
    const disk = Buffer.from(before)
    for (const { kind, offset, data } of [...earlier, ...some]) if (kind === 'write') disk.set(data, offset)
    return disk
  }
  const disk = await CutDisk.open(file, { earlier, writes })
  t.ok(expected([]).equals(await readFile(file)), 'as it is when the recording begins')
  for (const some of [writes, writes.slice(0, 1), writes.slice(1), [], writes.slice(0, 2)]) {
    await disk.goTo(some)
    t.ok(expected(some).equals(await readFile(file)), `${some.length} writes`)
  }
  t.ok((await disk.read(7 * SECTOR, 4)).equals(Buffer.from('eeee')))
})

t.test(
  'every version of a vTPM state is kept with its time, and one that was not seen is counted',
  async (t) => {
    const directory = await scratch(t)
    const at = (name: string) => join(directory, name)
    await writeFile(at('tpm2-00.permall'), 'one')
    const versions = VtpmVersions.watch(directory)
    t.teardown(() => versions.close())
    const replace = (content: string) => {
      writeFileSync(at('TMP2-00.permall'), content)
      renameSync(at('TMP2-00.permall'), at('tpm2-00.permall'))
    }
    const contents = () => versions.seen.map(({ bytes }) => Buffer.from(bytes).toString())
    replace('two')
    while (versions.seen.length < 2) await turn()
    t.strictSame(contents(), ['one', 'two'])
    t.equal(versions.missed, 0)
    const [, { at: time } = { at: 0 }] = versions.seen
    t.ok(Math.abs(time - statSync(at('tpm2-00.permall')).ctimeMs) < 1)
    // Both before the kernel's word of the first is heard.
    replace('three')
    replace('four')
    while (versions.missed === 0) await turn()
    t.strictSame(contents(), ['one', 'two', 'four'])
    t.equal(versions.missed, 1)
  },
)
