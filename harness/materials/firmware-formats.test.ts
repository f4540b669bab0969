/** Our readers and writers of what firmware reads, against virt-fw-vars and mtools; skipped by name without the tools. */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { devicePathText, fileOf, filePathOnPartition } from '../formats/device-path.ts'
import { parseFat } from '../formats/fat.ts'
import {
  bootEntryNumber,
  encodeBootNumbers,
  encodeLoadOption,
  parseLoadOption,
} from '../formats/load-option.ts'
import { encodeSignatureLists, parseSignatureLists } from '../formats/signature-list.ts'
import { findVariable, parseVariableStore } from '../formats/variable-store.ts'
import { deleteVariable, setVariable } from '../formats/variable-store-edit.ts'
import { parseWriteLog } from '../formats/write-log.ts'
import { parseWriteTrace, positionsOf } from '../formats/write-trace.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { createOverlay, writeRegion } from './boot-disk.ts'
import { ensureEspOnlyDisk } from './disk.ts'
import { changeEsp, findEsp, readEsp } from './esp.ts'

const found: Tools | undefined = await openTools().catch(() => undefined)
const skip = found ? false : 'no tools tree: run scripts/setup'
t.setTimeout(300_000)

const EMPTY = 'usr/share/OVMF/OVMF_VARS_4M.fd'
const WITH_KEYS = 'usr/share/OVMF/OVMF_VARS_4M.ms.fd'
const IMAGE_SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
const PARTITION = { partition: 1, start: 2048n, size: 131072n, guid: '00112233-4455-6677-8899-aabbccddeeff' }

async function bench(t: Test): Promise<{ readonly tools: Tools; readonly directory: string }> {
  if (!found) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return { tools: found, directory }
}

interface Dumped {
  readonly name: string
  readonly guid: string
  readonly attr: number
  readonly data: string
}

/** What virt-fw-vars reads in a store, sorted as it sorts. */
async function dump(
  { tools, directory }: { tools: Tools; directory: string },
  file: string,
): Promise<Dumped[]> {
  const json = join(directory, 'dump.json')
  await tools.run('virt-fw-vars', ['--input', file, '--output-json', json])
  const { variables } = JSON.parse(await readFile(json, 'utf8')) as { variables: Dumped[] }
  return variables.map(({ name, guid, attr, data }) => ({ name, guid, attr, data })).sort(byName)
}

function byName(a: Dumped, b: Dumped): number {
  return a.name < b.name ? -1 : 1
}

function ours(image: Uint8Array): Dumped[] {
  const dumped = parseVariableStore(image).variables.map(({ name, guid, attributes, data }) => ({
    ...{ name, guid, attr: attributes, data: Buffer.from(data).toString('hex') },
  }))
  return dumped.sort(byName)
}

t.test('stores as packages bring them read as virt-fw-vars reads them', { skip }, async (t) => {
  const { tools, directory } = await bench(t)
  for (const store of [EMPTY, WITH_KEYS, 'usr/share/ovmf/OVMF.inteltdx.ms.fd']) {
    const expected = await dump({ tools, directory }, tools.path(store))
    t.strictSame(ours(await readFile(tools.path(store))), expected, store)
    if (store !== EMPTY) t.ok(expected.length >= 4, `${expected.length} variables`)
  }
})

t.test('what we write virt-fw-vars reads, and the entries mean the same to it', { skip }, async (t) => {
  const { tools, directory } = await bench(t)
  const file = join(directory, 'changed.fd')
  const entry = encodeLoadOption({
    ...{ attributes: 1, description: 'slot B', optionalData: new Uint8Array() },
    paths: [filePathOnPartition(PARTITION, 'EFI/Linux/b.efi')],
  })
  let image: Uint8Array = await readFile(tools.path(WITH_KEYS))
  image = setVariable(image, { name: 'Boot0007', data: entry })
  image = setVariable(image, { name: 'BootNext', data: encodeBootNumbers([7]) })
  image = deleteVariable(image, { name: 'CustomMode', guid: 'c076ec0c-7028-4399-a072-71ee5c448b9f' })
  await writeFile(file, image)
  t.strictSame(ours(image), await dump({ tools, directory }, file))
  const printed = await tools.run('virt-fw-vars', ['--input', file, '--print', '--verbose'])
  const lines = printed.stdout.toString()
  t.match(lines, 'title="slot B" devpath=Partition(nr=1)/FilePath(\\EFI\\Linux\\b.efi)')
  t.match(lines, 'boot order: 0007')
})

t.test('an entry that virt-fw-vars adds reads as what it is', { skip }, async (t) => {
  const { tools, directory } = await bench(t)
  const file = join(directory, 'added.fd')
  const add = ['--append-boot-filepath', '\\EFI\\Linux\\a.efi', '--output', file]
  await tools.run('virt-fw-vars', ['--input', tools.path(EMPTY), ...add])
  const store = parseVariableStore(await readFile(file))
  const entry = store.variables.find(({ name }) => bootEntryNumber(name) !== undefined)
  const [path] = parseLoadOption(entry?.data ?? new Uint8Array()).paths
  t.equal(path && fileOf(path), '\\EFI\\Linux\\a.efi')
  t.equal(path && devicePathText(path), '\\EFI\\Linux\\a.efi')
})

t.test('the certificates in PK, KEK and db are certificates', { skip }, async (t) => {
  const { tools } = await bench(t)
  const store = parseVariableStore(await readFile(tools.path(WITH_KEYS)))
  for (const ref of [{ name: 'PK' }, { name: 'KEK' }, { name: 'db', guid: IMAGE_SECURITY }]) {
    const data = findVariable(store, ref)?.data ?? new Uint8Array()
    const lists = parseSignatureLists(data)
    t.ok(lists.length > 0, ref.name)
    for (const { signatures } of lists)
      for (const { data } of signatures) t.ok(new X509Certificate(data).subject.length > 0)
    t.ok(encodeSignatureLists(lists).equals(data), 'and are written back as they were')
  }
})

const LONG = 'vmlinuz-6.12.0+deb13-cloud-amd64 of a long name+2-1.efi'

for (const { bits, MiB } of [
  { bits: 12, MiB: 2 },
  { bits: 16, MiB: 32 },
  { bits: 32, MiB: 64 },
])
  t.test(`a FAT${bits} volume of mkfs.vfat and mtools reads as what was put on it`, { skip }, async (t) => {
    const { tools, directory } = await bench(t)
    const [volume, content] = [join(directory, 'esp.img'), join(directory, 'content')]
    const bytes = Buffer.from(Array.from({ length: 70_001 }, (_, index) => (index * 7) & 0xff))
    await writeFile(content, bytes)
    await writeFile(volume, '')
    await truncate(volume, MiB << 20)
    await tools.run('mkfs.vfat', ['-F', String(bits), '-n', 'ESP', volume])
    await tools.run('mmd', ['-i', volume, '::/EFI', '::/EFI/Linux'])
    for (const name of ['EFI/Linux/a.efi', `EFI/Linux/${LONG}`, 'EFI/Loader.conf'])
      await tools.run('mcopy', ['-i', volume, content, `::/${name}`])
    await tools.run('mdel', ['-i', volume, '::/EFI/Linux/a.efi'])
    const fat = parseFat(await readFile(volume))
    t.strictSame(fat.entries.map(({ path }) => path).sort(), [
      'EFI',
      'EFI/Linux',
      `EFI/Linux/${LONG}`,
      'EFI/Loader.conf',
    ])
    t.equal(fat.type, `FAT${bits}`)
    t.ok(fat.read(`EFI/Linux/${LONG}`).equals(bytes))
    const { stdout } = await tools.run('mdir', ['-i', volume, '::/'])
    const free = /([\d ]+) bytes free/.exec(stdout.toString())?.[1]?.replaceAll(' ', '')
    t.equal(fat.freeBytes, Number(free), 'mtools counts the same free bytes')
  })

t.test('the ESP of a disk is changed from outside, and only the ESP', { skip }, async (t) => {
  const { tools, directory } = await bench(t)
  const context = { tools, paths: resolvePaths(), store: new Store(join(directory, 'store')) }
  const base = await ensureEspOnlyDisk(context, { espMiB: 34 })
  const disk = join(directory, 'disk.qcow2')
  await createOverlay(tools, { file: disk, backing: base.file, backingFormat: 'raw' })
  const esp = await findEsp(tools, { disk, directory })
  t.match(esp, { offset: 1 << 20, size: 34 << 20, partition: { partition: 1, start: 2048n, size: 69632n } })
  await t.rejects(readEsp(tools, esp, directory), {
    name: 'FormatError',
    offset: (1 << 20) + 510,
    message: disk,
  })

  const volume = join(directory, 'fresh.img')
  await writeFile(volume, '')
  await truncate(volume, esp.size)
  await tools.run('mkfs.vfat', ['-F', '32', volume])
  await writeRegion(tools, disk, { file: volume, offset: esp.offset })
  const file = join(directory, 'content')
  await writeFile(file, 'one')
  const put = (path: string) => ({ kind: 'put' as const, path, file })
  await changeEsp(tools, esp, { directory, changes: [put('EFI/Linux/b.efi'), put('EFI/Linux/c.efi')] })
  await writeFile(file, 'two, longer')
  const changes = [
    put('efi/LINUX/b.efi'),
    { kind: 'remove' as const, path: 'EFI/Linux/c.efi' },
    { kind: 'rename' as const, from: 'EFI/Linux/b.efi', to: 'EFI/Linux/B+3.efi' },
  ]
  await changeEsp(tools, esp, { directory, changes })
  const fat = await readEsp(tools, esp, directory)
  t.strictSame(
    fat.entries.map(({ path }) => path),
    ['EFI', 'EFI/Linux', 'EFI/Linux/B+3.efi'],
  )
  t.equal(fat.read('EFI/Linux/B+3.efi').toString(), 'two, longer')
  await truncate(file, fat.freeBytes + 1)
  await t.rejects(changeEsp(tools, esp, { directory, changes: [put('too-large')] }), {
    ...{
      name: 'MaterialError',
      code: 'disk-full',
      message: /too-large on the ESP of .*disk\.qcow2 \(at 0x100000\)/,
    },
  })
})

t.test('what QEMU logs of the writes to a disk makes the disk again', { skip }, async (t) => {
  const { tools, directory } = await bench(t)
  const [disk, log] = [join(directory, 'disk.img'), join(directory, 'writes.log')]
  for (const file of [disk, log]) {
    await writeFile(file, '')
    await truncate(file, 1 << 20)
  }
  const raw = (filename: string) => ({ driver: 'raw', file: { driver: 'file', filename } })
  const logged = { driver: 'blklogwrites', 'log-sector-size': 512, file: raw(disk), log: raw(log) }
  const commands = [
    'write -P 0x41 0 4096',
    'flush',
    'write -P 0x42 512 512',
    'write -z 8192 4096',
    'write -P 0x43 100 10',
  ]
  const { stderr } = await tools.run('qemu-io', [
    ...['--trace', 'bdrv_co_pwritev_part', ...commands.flatMap((each) => ['-c', each])],
    `json:${JSON.stringify(logged)}`,
  ])
  const replayed = Buffer.alloc(1 << 20)
  const parsed = parseWriteLog(await readFile(log))
  const { writes } = parsed
  for (const { kind, offset, data } of writes) if (kind === 'write') replayed.set(data, offset)
  t.ok(replayed.equals(await readFile(disk)))
  t.ok(writes.some(({ kind }) => kind === 'flush'))
  const positions = positionsOf(parsed, parseWriteTrace(stderr))
  t.equal(positions.length, writes.length, 'each entry is found in the trace')
  t.strictSame(
    positions,
    positions.toSorted((a, b) => a - b),
  )
})
