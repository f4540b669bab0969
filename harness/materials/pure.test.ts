import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { nearest } from '../base/nearest.ts'
import { directoriesOf } from './boot-disk.ts'
import { contentKey } from './context.ts'
import { layOut, MIB } from './disk.ts'
import { sha256OfTree } from './file-digest.ts'
import { missingModules, selectDependencies } from './module-closure.ts'

t.test('contentKey depends on every input and not on the order of names', async (t) => {
  const key = contentKey({ a: 1, b: ['x', 'y'], c: { d: null, e: true } })
  t.match(key, /^[0-9a-f]{32}$/)
  t.equal(contentKey({ c: { e: true, d: null }, b: ['x', 'y'], a: 1 }), key)
  const others = [
    { a: 2, b: ['x', 'y'], c: { d: null, e: true } },
    { a: 1, b: ['y', 'x'], c: { d: null, e: true } },
    { a: 1, b: ['x', 'y'], c: { d: undefined, e: true } },
    { a: '1', b: ['x', 'y'], c: { d: null, e: true } },
    { a: 1, b: ['xy'], c: { d: null, e: true } },
  ]
  t.equal(new Set([key, ...others.map(contentKey)]).size, 6)
})

t.test('sha256OfTree sees contents, names, links and executable bits', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const seen = [await sha256OfTree(directory)]
  const after = async (change: () => Promise<unknown>) => {
    await change()
    seen.push(await sha256OfTree(directory))
  }
  await after(() => mkdir(join(directory, 'd')).then(() => writeFile(join(directory, 'd/f'), 'one')))
  await after(() => writeFile(join(directory, 'd/f'), 'two'))
  await after(() => chmod(join(directory, 'd/f'), 0o755))
  await after(() => symlink('/nowhere', join(directory, 'l')))
  t.equal(new Set(seen).size, seen.length)
  t.equal(await sha256OfTree(directory), seen.at(-1))
})

t.test('layOut aligns to a MiB and leaves room for both tables', async (t) => {
  t.same(layOut({ esp: 64 }), { esp: { offset: MIB, size: 64 * MIB }, size: 66 * MIB })
  const { esp, data, root, size } = layOut({ esp: 2, data: 3, root: 4 })
  t.same(
    [esp, data, root].map((extent) => (extent?.offset ?? 0) / MIB),
    [1, 3, 6],
  )
  t.equal(size, 11 * MIB)
})

t.test('directoriesOf gives every parent once, parents first', async (t) => {
  t.same(directoriesOf(['EFI/BOOT/BOOTX64.EFI', 'EFI/Linux/a.efi', 'top']), ['EFI', 'EFI/BOOT', 'EFI/Linux'])
})

t.test('selectDependencies keeps the lines of wanted modules only', async (t) => {
  const index = 'kernel/a.ko.xz: kernel/b.ko.xz\nkernel/b.ko.xz:\nkernel/ab.ko.xz:\n'
  t.equal(
    selectDependencies(index, new Set(['kernel/a.ko.xz', 'kernel/b.ko.xz'])),
    'kernel/a.ko.xz: kernel/b.ko.xz\nkernel/b.ko.xz:\n',
  )
})

t.test('missingModules knows what is a module, what is built in, and neither by half a name', async (t) => {
  const tree = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(tree, { recursive: true }))
  const directory = join(tree, 'usr/lib/modules/6.1')
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'modules.dep'), 'kernel/virt/sev-guest.ko.xz: kernel/tdx_guest.ko\n')
  await writeFile(join(directory, 'modules.builtin'), 'kernel/fs/efivarfs.ko\n')
  const names = ['sev_guest', 'tdx_guest', 'efivarfs', 'fs', 'guest']
  t.same(await missingModules({ tree, release: '6.1', names }), ['tdx_guest', 'fs', 'guest'])
})

t.test('nearest gives what was meant, or nothing', async (t) => {
  t.equal(nearest('debain', ['micro', 'debian']), 'debian')
  t.equal(nearest('Debian', ['micro', 'debian']), 'debian')
  t.equal(nearest('windows', ['micro', 'debian']), undefined)
})
