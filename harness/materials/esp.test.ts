/** The ESP of a disk that is not what it should be; skipped by name where set-up has not run. */
import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openTools, type Tools } from '../system/tools.ts'
import { changeEsp, findEsp, readEsp } from './esp.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
const MIB = 1 << 20
/** Where sfdisk puts the first partition. */
const ESP_AT = MIB
const ESP_MIB = 16
t.setTimeout(120_000)

interface TestDisk {
  readonly tools: Tools
  readonly directory: string
  readonly disk: string
}

/** A qcow2 disk with one partition of `type`, which holds a FAT volume of `fatMib`; 0: nothing. */
async function makeDisk(
  t: Test,
  { type = 'U', fatMib }: { readonly type?: 'U' | 'L'; readonly fatMib: number },
): Promise<TestDisk> {
  if (!tools) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const [raw, disk, fat] = ['disk.raw', 'disk.qcow2', 'fat.img'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ]
  await writeFile(raw, '')
  await truncate(raw, (ESP_MIB + 4) * MIB)
  await tools.run('sfdisk', ['-q', raw], { input: `label: gpt\nsize=${ESP_MIB}MiB,type=${type}\n` })
  if (fatMib > 0) {
    await writeFile(fat, '')
    await truncate(fat, fatMib * MIB)
    await tools.run('mkfs.vfat', ['-F', '16', '-s', '1', fat])
    const handle = await open(raw, 'r+')
    await handle.write(await readFile(fat), 0, undefined, ESP_AT)
    await handle.close()
  }
  await tools.run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, disk])
  return { tools, directory, disk }
}

t.test('files are put, renamed and removed, and nothing else changes', { skip }, async (t) => {
  const { tools, directory, disk } = await makeDisk(t, { fatMib: ESP_MIB })
  const esp = await findEsp(tools, { disk, directory })
  t.match(esp, { offset: ESP_AT, size: ESP_MIB * MIB, partition: { partition: 1 } })
  const file = join(directory, 'content')
  await writeFile(file, 'content')
  const put = (path: string) => ({ kind: 'put', path, file }) as const
  await changeEsp(tools, esp, { directory, changes: [put('EFI/Linux/b.new'), put('keep')] })
  const rename = { kind: 'rename', from: 'EFI/Linux/b.new', to: 'EFI/Linux/b+3.efi' } as const
  await changeEsp(tools, esp, { directory, changes: [rename] })
  const files = async () => (await readEsp(tools, esp, directory)).entries.map(({ path }) => path)
  t.same(await files(), ['EFI', 'keep', 'EFI/Linux', 'EFI/Linux/b+3.efi'])
  t.equal((await readEsp(tools, esp, directory)).read('EFI/Linux/b+3.efi').toString(), 'content')
  await changeEsp(tools, esp, { directory, changes: [{ kind: 'remove', path: 'EFI/Linux/b+3.efi' }] })
  t.same(await files(), ['EFI', 'keep', 'EFI/Linux'])
})

t.test('an ESP that is not FAT is refused, with the disk and the offset on it', { skip }, async (t) => {
  const { tools, directory, disk } = await makeDisk(t, { fatMib: 0 })
  const esp = await findEsp(tools, { disk, directory })
  const refusal = {
    ...{ name: 'FormatError', code: 'bad-magic', offset: ESP_AT + 510 },
    message: `cannot read the ESP of ${disk} (0x1001fe in it)`,
  }
  await t.rejects(readEsp(tools, esp, directory), refusal)
  const before = await readFile(disk)
  const remove = { kind: 'remove', path: 'x' } as const
  await t.rejects(changeEsp(tools, esp, { directory, changes: [remove] }), refusal)
  t.ok(before.equals(await readFile(disk)), 'and nothing is written')
})

t.test('a volume that is larger than its partition is refused', { skip }, async (t) => {
  const { tools, directory, disk } = await makeDisk(t, { fatMib: ESP_MIB + 2 })
  const esp = await findEsp(tools, { disk, directory })
  await t.rejects(readEsp(tools, esp, directory), { code: 'truncated', field: 'BPB_TotSec32' })
})

t.test('a file for which there is no room is refused before anything is written', { skip }, async (t) => {
  const { tools, directory, disk } = await makeDisk(t, { fatMib: ESP_MIB })
  const esp = await findEsp(tools, { disk, directory })
  const { freeBytes } = await readEsp(tools, esp, directory)
  const file = join(directory, 'large')
  await writeFile(file, '')
  await truncate(file, freeBytes + 1)
  const before = await readFile(disk)
  const changes = [{ kind: 'put', path: 'EFI/Linux/b.efi', file }] as const
  await t.rejects(changeEsp(tools, esp, { directory, changes }), {
    ...{ name: 'MaterialError', code: 'disk-full' },
    message: `cannot put EFI/Linux/b.efi on the ESP of ${disk} (at 0x100000): it needs ${freeBytes + 1} bytes, ${freeBytes} are free`,
  })
  t.ok(before.equals(await readFile(disk)))
})

t.test('a disk without an ESP, and one without a partition table', { skip }, async (t) => {
  const { tools, directory, disk } = await makeDisk(t, { type: 'L', fatMib: 0 })
  await t.rejects(findEsp(tools, { disk, directory }), { code: 'bad-format', message: /none of its part/ })
  const bare = join(directory, 'bare.qcow2')
  await tools.run('qemu-img', ['create', '-q', '-f', 'qcow2', bare, '4M'])
  await t.rejects(findEsp(tools, { disk: bare, directory }), {
    ...{ name: 'FormatError', field: 'Signature', offset: 512 },
    message: `cannot read the partition table of ${bare} (0x200 in it)`,
  })
})
