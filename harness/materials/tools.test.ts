/** What only the real tools can say; skipped by name where set-up has not run. No VM is started. */
import { execFileSync } from 'node:child_process'
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseGpt } from '../formats/gpt.ts'
import { parsePeSections, peSectionContent } from '../formats/pe.ts'
import { sha256File } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { createOverlay, FALLBACK_BOOT_PATH, replaceEsp } from './boot-disk.ts'
import { inspectBroughtDisk, prepareBroughtDisk } from './brought-disk.ts'
import { type BroughtImage, type DiskFormat, readBroughtImage } from './brought-image.ts'
import type { MaterialContext } from './context.ts'
import { ensureBaseDisk, ensureEspOnlyDisk } from './disk.ts'
import { ensureKeys } from './keys.ts'
import { ensureUki, type UkiRequest } from './uki.ts'
import { ensureVariables, readVariables } from './variables.ts'
import { prepareDisk } from './vm-disk.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
const MIB = 1 << 20
t.setTimeout(300_000)
const VARIABLES_TEMPLATE = 'usr/share/OVMF/OVMF_VARS_4M.fd'
const STUB = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
/** The public area of some TPM's storage root key: sealing to it needs no TPM. */
const SRK_PUBLIC = Buffer.from(
  '005a0023000b000304720000000600800043001000030010002037143c7f35066b140016f02355c5fbd53c7477ed52ddf275e0667d54bca6b4c4' +
    '0020fb164efa57e08efb0ed1f429141ba173c309045116dae14c79713e901be33e95',
  'hex',
)

/** A context with a store and keys of its own, gone after the test. */
async function bench(t: Test): Promise<MaterialContext & { readonly directory: string }> {
  if (!tools) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const paths = { ...resolvePaths(), keys: join(directory, 'keys') }
  return { directory, tools, paths, store: new Store(join(directory, 'store')) }
}

t.test('keys are private, complete, made once, and never half', { skip }, async (t) => {
  const context = await bench(t)
  const [keys, same] = await Promise.all([ensureKeys(context), ensureKeys(context)])
  t.same(keys, same, 'two at once share one set')
  t.equal((await stat(keys.directory)).mode & 0o777, 0o700)
  const names = await readdir(keys.directory)
  t.equal(names.length, 12)
  for (const name of names) t.equal((await stat(join(keys.directory, name))).mode & 0o777, 0o600, name)
  const { certificates, pcr } = keys
  const digests = [...Object.values(certificates), ...Object.values(pcr)].map(({ digest }) => digest)
  t.equal(new Set(digests).size, 6)
  await rm(certificates.db.privateKey)
  await t.rejects(ensureKeys(context), { code: 'missing', message: /db\.key missing/ })
})

t.test('variable stores hold the keys that were asked for, cached by content', { skip }, async (t) => {
  const context = await bench(t)
  const keys = await ensureKeys(context)
  const template = context.tools.path(VARIABLES_TEMPLATE)
  const on = await ensureVariables(context, { template, keys, secureBoot: 'on' })
  const again = await ensureVariables(context, { template, keys, secureBoot: 'on' })
  t.same(again, on)
  t.equal(await sha256File(on.file), on.sha256)
  const extraDb = [keys.certificates['db-other'].certificate]
  const more = await ensureVariables(context, { template, keys, secureBoot: 'on', extraDb })
  const off = await ensureVariables(context, { template, keys, secureBoot: 'off' })
  const sizes = async (file: string) =>
    new Map((await readVariables(context, file)).map(({ name, size }) => [name, size]))
  const [inOn, inMore] = await Promise.all([sizes(on.file), sizes(more.file)])
  for (const name of ['PK', 'KEK', 'db', 'SecureBootEnable']) t.ok(inOn.has(name), name)
  t.equal(inOn.get('PK'), inMore.get('PK'))
  t.ok((inMore.get('db') ?? 0) > (inOn.get('db') ?? 0), 'one more certificate in db')
  t.equal(off.sha256, await sha256File(template), 'setup mode: as the package has it')
  const shipped = context.tools.path('usr/share/OVMF/OVMF_VARS_4M.ms.fd')
  const kept = await ensureVariables(context, {
    template: shipped,
    withKeys: true,
    keys,
    secureBoot: 'template',
  })
  t.ok((await sizes(kept.file)).has('PK'))
  const bare = await ensureVariables(context, { template: shipped, withKeys: true, keys, secureBoot: 'off' })
  t.strictSame(
    [...(await sizes(bare.file)).keys()],
    [],
    'setup mode: without the keys that the package brings',
  )
})

t.test('a UKI has the sections, is signed by the right key, and is built once', { skip }, async (t) => {
  const context = await bench(t)
  const keys = await ensureKeys(context)
  const initrd = join(context.directory, 'initrd')
  await writeFile(initrd, 'initrd')
  const request: UkiRequest = {
    ...{
      id: 'test',
      version: '1',
      kernel: { image: context.tools.path(STUB), release: '6.0', digest: 'stub' },
      keys,
    },
    initrd: { file: initrd, sha256: await sha256File(initrd) },
    ...{ commandLine: 'console=ttyS0 quiet', signedBy: 'db', pcrSignedBy: 'pcr' },
  }
  const uki = await ensureUki(context, request)
  t.equal(await sha256File(uki.file), uki.sha256)
  t.equal((await ensureUki(context, { ...request })).file, uki.file)
  const file = await readFile(uki.file)
  const text = (name: string) => Buffer.from(peSectionContent(file, name) ?? []).toString()
  t.equal(text('.cmdline').replace(/\0+$/, ''), request.commandLine)
  t.equal(text('.pcrpkey'), await readFile(keys.pcr.pcr.publicKey, 'utf8'))
  const signature = JSON.parse(text('.pcrsig').replace(/\0+$/, '')) as { sha256: { pcrs: number[] }[] }
  t.same(
    signature.sha256.map(({ pcrs }) => pcrs),
    [[11]],
  )
  const verify = (name: 'db' | 'db-other') =>
    context.tools.run('sbverify', ['--cert', keys.certificates[name].certificate, uki.file])
  await verify('db')
  await t.rejects(verify('db-other'))
  const others = await Promise.all([
    ensureUki(context, { ...request, commandLine: 'console=ttyS0' }),
    ensureUki(context, { ...request, version: '2' }),
    ensureUki(context, { ...request, signedBy: 'db-other' }),
    ensureUki(context, { ...request, pcrSignedBy: 'pcr-other' }),
  ])
  t.equal(new Set([uki, ...others].map((each) => each.file)).size, 5)
  const { signedBy, pcrSignedBy, ...plain } = request
  const unsigned = await readFile((await ensureUki(context, plain)).file)
  t.notOk(parsePeSections(unsigned).some(({ name }) => name === '.pcrsig'))
})

/** A disk with a tree of one file, 34 + 16 + 20 MiB. */
async function smallDisk(context: MaterialContext & { readonly directory: string }) {
  const tree = join(context.directory, 'tree')
  await mkdir(join(tree, 'etc'), { recursive: true })
  await writeFile(join(tree, 'etc/secret'), 'only-inside-of-the-encrypted-root '.repeat(1000))
  const sizes = { espMiB: 34, dataMiB: 16, rootMiB: 20 }
  return ensureBaseDisk(context, { id: 'small', tree, treeKey: 'tree-1', ...sizes })
}

/** One partition of a disk of any format, as a file. */
async function extract(
  { tools, directory }: MaterialContext & { readonly directory: string },
  disk: string,
  { offset, size }: { offset: number; size: number },
): Promise<string> {
  const whole = join(directory, 'whole.raw')
  const part = join(directory, 'part.raw')
  await tools.run('qemu-img', ['convert', '-O', 'raw', disk, whole])
  const blocks = ['bs=1M', `skip=${offset / MIB}`, `count=${size / MIB}`]
  await tools.run('dd', [`if=${whole}`, `of=${part}`, ...blocks, 'conv=sparse', 'status=none'])
  return part
}

t.test("a VM's disk has its own files and keys over a shared base", { skip }, async (t) => {
  const context = await bench(t)
  const base = await smallDisk(context)
  const before = await sha256File(base.file)
  t.equal(before, base.sha256)
  const table = parseGpt((await readFile(base.file)).subarray(0, 64 * 1024))
  t.same(
    table.partitions.map(({ label, offset, size }) => ({ label, offset, size })),
    (['esp', 'data', 'root'] as const).map((label) => ({ label, ...base[label] })),
  )
  t.notOk((await readFile(base.file)).includes('only-inside-of-the-encrypted-root'), 'the root is encrypted')

  const boot = join(context.directory, 'boot.efi')
  await writeFile(boot, Buffer.alloc(3 * MIB, 'boot'))
  const files = { [FALLBACK_BOOT_PATH]: { file: boot, sha256: await sha256File(boot) } }
  const recoveryKey = 'cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv'
  const keys = await ensureKeys(context)
  const tpm2 = {
    srkPublic: SRK_PUBLIC,
    pcrPublicKey: keys.pcr.pcr.publicKey,
    literalPcrs: { 7: 'ab'.repeat(32), 12: '00'.repeat(32) },
  }
  const directory = join(context.directory, 'vm')
  await mkdir(directory)
  const disk = await prepareDisk(context, { base, files, directory, enrol: { tpm2, recoveryKey } })

  const luks = await extract(context, disk.file, base.root ?? base.esp)
  const { stdout } = await context.tools.run('cryptsetup', ['luksDump', '--dump-json-metadata', luks])
  const header = JSON.parse(stdout.toString()) as { tokens: object; keyslots: object }
  t.same(Object.keys(header.keyslots), ['1', '2'], "the build's own key is gone")
  t.match(Object.values(header.tokens), [
    { type: 'systemd-recovery', keyslots: ['1'] },
    { type: 'systemd-tpm2', keyslots: ['2'], 'tpm2-pcrs': [7, 12], tpm2_pubkey_pcrs: [11] },
  ])
  const opens = (input: string) =>
    context.tools.run('cryptsetup', ['open', '--test-passphrase', '--key-file', '-', luks], { input })
  await opens(recoveryKey)
  await t.rejects(opens(recoveryKey.replace('c', 'b')))
  await t.rejects(
    opens(await readFile(base.luks?.buildKeyFile ?? '', 'utf8')),
    'nor does the key of the build',
  )
  t.same(await readdir(directory), ['disk.qcow2', 'srk.tpm2b-public'], 'no key file is left')

  const copied = join(context.directory, 'copied')
  const readBack = async () => {
    const esp = await extract(context, disk.file, base.esp)
    await context.tools.run('mcopy', ['-n', '-o', '-i', esp, `::/${FALLBACK_BOOT_PATH}`, copied])
    return readFile(copied)
  }
  t.ok((await readBack()).equals(await readFile(boot)))
  await writeFile(boot, 'smaller')
  await replaceEsp(context.tools, { disk: disk.file, base, files, directory })
  t.equal((await readBack()).toString(), 'smaller')
  t.equal(await sha256File(base.file), before, 'the base was not written')
  await t.rejects(prepareDisk(context, { base, files, directory, name: 'none', enrol: {} }), {
    code: 'build-failed',
  })
})

t.test('an ESP that is too small for its files is refused, saying so', { skip }, async (t) => {
  const context = await bench(t)
  const base = await ensureEspOnlyDisk(context, { espMiB: 34 })
  const large = join(context.directory, 'large')
  await writeFile(large, '')
  await truncate(large, 40 * MIB)
  const files = { [FALLBACK_BOOT_PATH]: { file: large, sha256: 'x' } }
  const directory = context.directory
  await t.rejects(prepareDisk(context, { base, files, directory }), { code: 'build-failed', hint: /espMiB/ })
  await t.rejects(prepareDisk(context, { base, files: {}, directory, enrol: { recoveryKey: 'x' } }), {
    code: 'bad-format',
  })
})

t.test("somebody else's disk is checked, never guessed at, and never written", { skip }, async (t) => {
  const context = await bench(t)
  const { directory } = context
  const base = await smallDisk(context)
  const described = async (
    path: string,
    format: DiskFormat,
    partitions = '{ esp: 1, root: root }',
  ): Promise<BroughtImage> => {
    const file = join(directory, 'mine.yaml')
    const login = 'login: { kind: automatic }'
    const disk = `disk: { path: ${JSON.stringify(path)}, format: ${format} }`
    await writeFile(file, `id: mine\ntitle: mine\n${disk}\npartitions: ${partitions}\n${login}\n`)
    return readBroughtImage(file)
  }
  const inspect = async (...args: Parameters<typeof described>) =>
    inspectBroughtDisk(context, await described(...args))

  const raw = join(directory, 'mine.raw')
  await copyFile(base.file, raw)
  await chmod(raw, 0o600)
  await t.rejects(inspect(raw, 'raw'), { code: 'bad-magic', message: `the ESP of ${raw} (0x1001fe in it)` })
  const { offset, size } = parseGpt(await readFile(raw)).partitions[0] ?? { offset: 0, size: 0 }
  await context.tools.run('mkfs.vfat', [`--offset=${offset / 512}`, raw, String(size / 1024)])
  for (const format of ['raw', 'qcow2', 'vmdk', 'vhdx'] as const) {
    const disk = join(directory, `mine.${format}`)
    if (format !== 'raw')
      await context.tools.run('qemu-img', ['convert', '-f', 'raw', '-O', format, raw, disk])
    t.match(await inspect(disk, format), { size: base.size, esp: { number: 1 }, root: { number: 3 } }, format)
    const digest = await sha256File(disk)
    const overlay = await prepareBroughtDisk(context, {
      image: await described(disk, format),
      directory,
      name: format,
    })
    await context.tools.run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 1M', overlay.file])
    t.equal(await sha256File(disk), digest, `${format} is not written`)
  }
  const qcow2 = join(directory, 'mine.qcow2')
  await t.rejects(inspect(join(directory, 'none'), 'raw'), { code: 'missing', message: /no disk at/ })
  await t.rejects(inspect(directory, 'raw'), { code: 'bad-format', message: /not a regular file/ })
  await t.rejects(inspect(qcow2, 'raw'), {
    code: 'bad-format',
    message: /declared to be raw and looks like qcow2/,
  })
  await t.rejects(inspect(raw, 'qcow2'), {
    code: 'bad-format',
    message: /declared to be qcow2 and looks like raw/,
  })
  await t.rejects(inspect(raw, 'raw', '{ esp: 1, root: home }'), {
    code: 'bad-format',
    message: /"home".*3 "root"/,
  })
  await t.rejects(inspect(raw, 'raw', '{ esp: 2, root: 3 }'), { code: 'bad-format', message: /an ESP has/ })

  const overlay = join(directory, 'overlay.qcow2')
  await createOverlay(context.tools, { file: overlay, backing: raw, backingFormat: 'raw' })
  await t.rejects(inspect(overlay, 'qcow2'), { code: 'bad-format', message: /another file/, hint: /convert/ })

  await truncate(raw, base.size - 10 * MIB)
  const sizes = new RegExp(`has ${base.size - 10 * MIB} bytes, ${base.size} are required`)
  await t.rejects(inspect(raw, 'raw'), { code: 'truncated', message: sizes })
  await truncate(qcow2, (await stat(qcow2)).size - MIB)
  await t.rejects(inspect(qcow2, 'qcow2'), { code: 'truncated', message: /bytes, \d+ are required/ })
  const empty = join(directory, 'empty.raw')
  await writeFile(empty, '')
  await t.rejects(inspect(empty, 'raw'))
  await writeFile(empty, Buffer.alloc(MIB))
  await t.rejects(inspect(empty, 'raw'), { code: 'bad-format', message: /partition table/ })
})

t.test('the scripts of the images are valid shell', { skip: skipWithoutShell() }, async (t) => {
  const images = join(import.meta.dirname, '../../images')
  const scripts = [
    ...['initrd/functions.sh', 'initrd/luks-root-init', 'micro/init', 'ab/root/usr/sbin/init'],
    ...['guest.sh', 'update-confirm', 'update-install'].map((name) => `ab/root/usr/lib/attestbed/${name}`),
  ]
  for (const script of scripts)
    t.doesNotThrow(() => execFileSync('sh', ['-n', join(images, script)], { stdio: 'pipe' }), script)
})

function skipWithoutShell(): string | false {
  try {
    execFileSync('sh', ['-c', ':'])
    return false
  } catch {
    return 'no sh'
  }
}
