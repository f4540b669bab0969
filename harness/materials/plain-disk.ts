/**
 * A disk as a general-purpose image is handed out: its root in clear, the same for everybody, known by one digest, with a
 * partition before it that is empty until somebody encrypts the root and puts the LUKS2 header there.
 */
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import { assemble, type BaseDisk, type DiskRecord, layOut, makeExt4, uuidOf } from './disk.ts'
import { sha256OfTree } from './file-digest.ts'
import type { PackageTree } from './guest-packages.ts'
import type { Recipe } from './recipe.ts'

/** Bump when the layout, or what a partition is made with, changes. */
const FORMAT = 2
const ESP_MIB = 96
/** The header that the guest makes has 1 MiB; whoever reads it reads all of this. */
const LUKS_HEADER_MIB = 1
/** Small: a guest without KVM encrypts it, and reads it three times. */
const PLAIN_ROOT_MIB = 24
const DATA_FILES = 80
const DATA_FILE_BYTES = 128 * 1024
/** Where the files of the image are whose sums `SHA256SUMS` beside them has. */
const DATA_DIRECTORY = 'usr/share/attestbed'

/** Stands in every file of the image's data, again and again: what an encrypted disk must not show. 64 hex digits. */
export const PLAIN_MARKER = sha256Hex('attestbed plain image')

export interface PlainDisk extends BaseDisk {
  /** SHA-256 of the whole root partition, hex: what the image is known by. */
  readonly rootSha256: string
}

export interface PlainDiskRequest {
  /** Its `root/` lies over the data; the only program is busybox, from `packages`. */
  readonly recipe: Pick<Recipe, 'id' | 'directory'>
  readonly packages: Pick<PackageTree, 'tree' | 'digest'>
}

export async function ensurePlainDisk(
  context: MaterialContext,
  { recipe, packages }: PlainDiskRequest,
): Promise<PlainDisk> {
  const { tools } = context
  const overlay = join(recipe.directory, 'root')
  const key = contentKey({
    ...{ format: FORMAT, kind: 'plain', tools: tools.digest, packages: packages.digest },
    ...{ overlay: await sha256OfTree(overlay), sizes: [ESP_MIB, LUKS_HEADER_MIB, PLAIN_ROOT_MIB] },
    data: [DATA_FILES, DATA_FILE_BYTES],
  })
  const directory = await context.store.ensure('disk', key, async (into) => {
    const layout = layOut({ esp: ESP_MIB, 'luks-header': LUKS_HEADER_MIB, root: PLAIN_ROOT_MIB })
    context.progress?.({ image: recipe.id, step: 'plain root' })
    const tree = join(into, 'tree')
    await cp(overlay, tree, { recursive: true, verbatimSymlinks: true })
    await fillTree(tree, packages.tree)
    const root = join(into, 'root.img')
    const ext4 = { file: root, MiB: PLAIN_ROOT_MIB, label: 'root', uuid: uuidOf(key, 'root') }
    await makeExt4(tools, { ...ext4, tree })
    const rootSha256 = await sha256File(root)
    await assemble(tools, { into, key, layout, files: { root } })
    await Promise.all([rm(tree, { recursive: true }), rm(root)])
    const { 'luks-header': _, ...extents } = layout
    const record: DiskRecord = { ...extents, sha256: await sha256File(join(into, 'disk.raw')) }
    await writeFile(join(into, 'disk.json'), JSON.stringify({ ...record, rootSha256 }))
  })
  const record = JSON.parse(await readFile(join(directory, 'disk.json'), 'utf8')) as Omit<
    PlainDisk,
    'file' | 'key'
  >
  return { ...record, key, file: join(directory, 'disk.raw') }
}

async function fillTree(tree: string, packages: string): Promise<void> {
  for (const each of ['dev', 'proc', 'sys', 'run', 'tmp', 'root', 'etc', 'usr/bin', DATA_DIRECTORY])
    await mkdir(join(tree, each), { recursive: true })
  for (const each of ['bin', 'sbin']) await symlink(`usr/${each}`, join(tree, each))
  await cp(join(packages, 'usr/bin/busybox'), join(tree, 'usr/bin/busybox'))
  await writeFile(join(tree, 'etc/os-release'), 'ID=attestbed\nVARIANT_ID=plain\n')
  const sums: string[] = []
  for (let index = 0; index < DATA_FILES; index++) {
    const name = `data-${index}`
    const content = Buffer.alloc(DATA_FILE_BYTES, `${PLAIN_MARKER}\n`)
    content.write(`${name}\n`)
    await writeFile(join(tree, DATA_DIRECTORY, name), content)
    sums.push(`${sha256Hex(content)}  ${name}\n`)
  }
  await writeFile(join(tree, DATA_DIRECTORY, 'SHA256SUMS'), sums.join(''))
}
