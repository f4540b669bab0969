/** Roots under a hash tree: by the real veritysetup, against what the kernel's documentation says of the format. */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Attack, Victim } from '../../attacks/attack.ts'
import { changedBlock, changedText, newHashTree } from '../../attacks/changed-disk.ts'
import { parseGpt } from '../../formats/gpt.ts'
import type { MaterialContext } from '../../materials/context.ts'
import type { BaseDisk, Extent } from '../../materials/disk.ts'
import { VERITY_BLOCK_BYTES, verityPartitionIds, verityTreeMiB } from '../../materials/verity.ts'
import { ensureVerityDisk } from '../../materials/verity-disk.ts'
import { prepareDisk } from '../../materials/vm-disk.ts'
import { resolvePaths } from '../../system/paths.ts'
import { Store } from '../../system/store.ts'
import { openTools, type Tools } from '../../system/tools.ts'
import { corruptedBlocks, userlandOf } from './verity-words.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
const SIZES = { espMiB: 34, dataMiB: 16, rootMiB: 20 }

interface Bench extends MaterialContext {
  readonly directory: string
  readonly base: BaseDisk
}

async function bench(t: Test): Promise<Bench> {
  if (!tools) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-verity-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const tree = join(directory, 'tree')
  await mkdir(tree)
  await writeFile(join(tree, 'program'), 'this program is=genuine\n')
  const context = { directory, tools, paths: resolvePaths(), store: new Store(join(directory, 'store')) }
  const base = await ensureVerityDisk(context, { id: 'small', tree, treeKey: 'tree', ...SIZES })
  return { ...context, base }
}

/** Linux, Documentation/admin-guide/device-mapper/verity.rst, "Hash Tree"; on-disk format 1: the salt comes first. */
function rootHashOf(data: Buffer, salt: Buffer): string {
  const digests = Array.from({ length: data.length / VERITY_BLOCK_BYTES }, (_, block) =>
    createHash('sha256')
      .update(salt)
      .update(data.subarray(block * VERITY_BLOCK_BYTES, (block + 1) * VERITY_BLOCK_BYTES))
      .digest(),
  )
  if (digests.length === 1) return digests[0]?.toString('hex') ?? ''
  const level = Buffer.concat(digests)
  const padded = Buffer.alloc(Math.ceil(level.length / VERITY_BLOCK_BYTES) * VERITY_BLOCK_BYTES)
  level.copy(padded)
  return rootHashOf(padded, salt)
}

const partOf = (disk: Buffer, { offset, size }: Extent) => disk.subarray(offset, offset + size)

function verityOf({ base }: Bench) {
  const { verity, root, data } = base
  if (!verity || !root || !data) throw new Error('the disk lacks a partition')
  return { verity, root, data }
}

t.test('the root hash is that of the whole root, and names both partitions', { skip }, async (t) => {
  const context = await bench(t)
  const { verity, root } = verityOf(context)
  const disk = await readFile(context.base.file)
  t.equal(rootHashOf(partOf(disk, root), Buffer.from(verity.salt, 'hex')), verity.rootHash)
  const ids = verityPartitionIds(verity.rootHash)
  const { partitions } = parseGpt(disk.subarray(0, 64 * 1024))
  const found = Object.fromEntries(partitions.map(({ label, guid }) => [label, guid]))
  t.match(found, ids)
  t.equal(Object.values(ids).join('').replaceAll('-', ''), verity.rootHash)
})

t.test('equal trees have equal root hashes, and another tree another one', { skip }, async (t) => {
  const context = await bench(t)
  const tree = join(context.directory, 'tree')
  const other = { ...context, store: new Store(join(context.directory, 'other-store')) }
  const again = await ensureVerityDisk(other, { id: 'small', tree, treeKey: 'tree', ...SIZES })
  t.equal(again.verity?.rootHash, context.base.verity?.rootHash)
  await writeFile(join(tree, 'program'), 'this program is=altered\n')
  const changed = await ensureVerityDisk(other, { id: 'small', tree, treeKey: 'another', ...SIZES })
  t.not(changed.verity?.rootHash, again.verity?.rootHash)
})

t.test(
  'what the host changes is what veritysetup finds, until the host makes a tree of its own',
  {
    skip,
  },
  async (t) => {
    const context = await bench(t)
    const { verity, root, data } = verityOf(context)
    const directory = join(context.directory, 'vm')
    await mkdir(directory)
    const { file } = await prepareDisk(context, { base: context.base, files: {}, directory })
    const victim = { tools: context.tools, directory, disk: { file, base: context.base } }
    const suffer = (attack: Attack) => attack.apply(victim as unknown as Victim)
    const now = async () => {
      const raw = join(context.directory, 'now.raw')
      await context.tools.run('qemu-img', ['convert', '-O', 'raw', file, raw])
      return readFile(raw)
    }
    const verifies = async (rootHash: string) => {
      const disk = await now()
      const [rootFile, hashes] = [join(context.directory, 'root'), join(context.directory, 'hashes')]
      await writeFile(rootFile, partOf(disk, root))
      await writeFile(hashes, partOf(disk, verity.hashes))
      return context.tools.run('veritysetup', ['verify', rootFile, hashes, rootHash])
    }
    await verifies(verity.rootHash)
    await suffer(changedBlock({ partition: 'data', block: -1, text: 'elsewhere' }))
    t.equal(partOf(await now(), data).toString('latin1', data.size - 4096, data.size - 4087), 'elsewhere')
    await verifies(verity.rootHash)

    let block = -1
    const onBlock = (changed: number) => {
      block = changed
    }
    await suffer(changedText({ partition: 'root', from: 'is=genuine', to: 'is=altered', onBlock }))
    const before = partOf(await readFile(context.base.file), root)
    const after = partOf(await now(), root)
    const at = before.findIndex((byte, index) => byte !== after[index])
    t.equal(Math.floor(at / VERITY_BLOCK_BYTES), block, 'it says which block it changed')
    await t.rejects(verifies(verity.rootHash))

    let own = ''
    const onRootHash = (hash: string) => {
      own = hash
    }
    await suffer(newHashTree({ onRootHash }))
    t.equal(own, rootHashOf(after, Buffer.from(verity.salt, 'hex')))
    await verifies(own)
    await t.rejects(verifies(verity.rootHash))

    const refused = { code: 'bad-scenario' }
    await t.rejects(suffer(changedText({ partition: 'root', from: 'nowhere at all', to: 'x' })), refused)
    await t.rejects(
      suffer(changedText({ partition: 'root', from: 'is=genuine', to: 'longer than that' })),
      refused,
    )
  },
)

t.test('a tree has room for all its levels', async (t) => {
  for (const dataMiB of [16, 320, 1000, 100_000]) {
    let blocks = 1
    for (let level = dataMiB * 256; level > 1; level = Math.ceil(level / 128))
      blocks += Math.ceil(level / 128)
    t.ok(verityTreeMiB(dataMiB) * 256 >= blocks, `${dataMiB} MiB`)
  }
})

t.test('what kernel and first program say is read, each block once', async (t) => {
  const lines = [
    '[    8.1] device-mapper: verity: 254:3: data block 123 is corrupted',
    '[    8.2] device-mapper: verity: 254:3: data block 123 is corrupted',
    '[    8.3] device-mapper: verity: 254:4: metadata block 1 is corrupted',
    'attestbed-initrd: 8.90 userland init is=genuine',
  ]
  t.strictSame(corruptedBlocks(lines), [
    { of: 'data', block: 123 },
    { of: 'metadata', block: 1 },
  ])
  t.equal(userlandOf(lines), 'genuine')
  t.equal(userlandOf(lines.slice(0, 3)), undefined)
  t.strictSame(corruptedBlocks(['device-mapper: verity: sha256 using "sha256-generic"']), [])
})
