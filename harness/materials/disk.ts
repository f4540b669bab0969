/** Whole disks without root, loop devices or device-mapper: partitions are made as files and put into place. */

import { randomBytes } from 'node:crypto'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { PARTITION_TYPES } from '../formats/gpt.ts'
import { sha256File } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'
import { contentKey, type MaterialContext } from './context.ts'
import { encryptInPlace, headerBytes, LUKS_RESERVED_MIB } from './luks.ts'
import type { VerityRoot } from './verity.ts'

export const MIB = 1 << 20
/** Bump when the layout, or what a partition is made with, changes. */
const FORMAT = 1

/** In bytes. */
export interface Extent {
  readonly offset: number
  readonly size: number
}

export interface BaseDisk {
  /** Raw, sparse, read-only: every VM writes to an overlay of its own. */
  readonly file: string
  readonly key: string
  readonly sha256: string
  readonly size: number
  readonly esp: Extent
  /** ext4 in clear, labelled `data`: what a search of the disk must be able to find. */
  readonly data?: Extent
  /** LUKS2, or ext4 under a hash tree; partition label `root`. */
  readonly root?: Extent
  readonly luks?: { readonly header: string; readonly buildKeyFile: string }
  /** The root is in clear, read-only, and every block of it is under this root hash. */
  readonly verity?: VerityRoot
}

export interface BaseDiskRequest {
  readonly id: string
  readonly tree: string
  readonly treeKey: string
  readonly espMiB: number
  readonly dataMiB: number
  readonly rootMiB: number
}

export type DiskRecord = Pick<BaseDisk, 'sha256' | 'size' | 'esp' | 'data' | 'root' | 'verity'>

/** ESP (empty), `data` and the encrypted `root` with `tree` in it. */
export async function ensureBaseDisk(context: MaterialContext, request: BaseDiskRequest): Promise<BaseDisk> {
  const { id, tree, treeKey, espMiB, dataMiB, rootMiB } = request
  const key = contentKey({ format: FORMAT, tools: context.tools.digest, treeKey, espMiB, dataMiB, rootMiB })
  const sizes = { esp: espMiB, data: dataMiB, root: rootMiB + LUKS_RESERVED_MIB }
  const directory = await context.store.ensure('disk', key, async (into) => {
    const layout = layOut(sizes)
    const root = join(into, 'root.img')
    const keyFile = join(into, 'build-key')
    await writeFile(keyFile, randomBytes(32).toString('hex'), { mode: 0o600 })
    context.progress?.({ image: id, step: 'file systems' })
    const data = join(into, 'data.img')
    await makeExt4(context.tools, { file: data, MiB: dataMiB, label: 'data', uuid: uuidOf(key, 'data') })
    await makeExt4(context.tools, {
      file: root,
      MiB: rootMiB,
      label: 'root',
      uuid: uuidOf(key, 'root'),
      tree,
    })
    context.progress?.({ image: id, step: 'encryption' })
    await truncate(root, sizes.root * MIB)
    await encryptInPlace(context.tools, { file: root, keyFile, uuid: uuidOf(key, 'luks') })
    context.progress?.({ image: id, step: 'disk' })
    await cutHeader(context.tools, { from: root, to: join(into, 'luks-header.img') })
    await assemble(context.tools, { into, key, layout, files: { data, root } })
    await context.tools.run('rm', [data, root])
    const record: DiskRecord = { ...layout, sha256: await sha256File(join(into, 'disk.raw')) }
    await writeFile(join(into, 'disk.json'), JSON.stringify(record))
  })
  const record = JSON.parse(await readFile(join(directory, 'disk.json'), 'utf8')) as DiskRecord
  const luks = { header: join(directory, 'luks-header.img'), buildKeyFile: join(directory, 'build-key') }
  return { ...record, key, file: join(directory, 'disk.raw'), luks }
}

/** A disk with nothing but an empty ESP, for images without a root. */
export async function ensureEspOnlyDisk(
  context: MaterialContext,
  { espMiB }: { espMiB: number },
): Promise<BaseDisk> {
  const key = contentKey({ format: FORMAT, kind: 'esp-only', tools: context.tools.digest, espMiB })
  const directory = await context.store.ensure('disk', key, async (into) => {
    const layout = layOut({ esp: espMiB })
    await assemble(context.tools, { into, key, layout, files: {} })
    const record: DiskRecord = { ...layout, sha256: await sha256File(join(into, 'disk.raw')) }
    await writeFile(join(into, 'disk.json'), JSON.stringify(record))
  })
  const record = JSON.parse(await readFile(join(directory, 'disk.json'), 'utf8')) as DiskRecord
  return { ...record, key, file: join(directory, 'disk.raw') }
}

/** In the order of the table; `luks-header` is the header of `root` beside it, `root-verity` its hash tree. */
const PARTITIONS = ['esp', 'data', 'luks-header', 'root', 'root-verity'] as const
type PartitionName = (typeof PARTITIONS)[number]
type Layout = { readonly size: number; readonly esp: Extent } & {
  readonly [name in Exclude<PartitionName, 'esp'>]?: Extent
}

/** One MiB in front for the table, one behind for its copy; partitions in order, aligned to a MiB. Pure. */
export function layOut(sizesMiB: {
  readonly esp: number
  readonly data?: number
  readonly 'luks-header'?: number
  readonly root?: number
  readonly 'root-verity'?: number
}): Layout {
  let offset = MIB
  const extents: Partial<Record<PartitionName, Extent>> = {}
  for (const name of PARTITIONS) {
    const size = (sizesMiB[name] ?? 0) * MIB
    if (size === 0) continue
    extents[name] = { offset, size }
    offset += size
  }
  return { esp: { offset: MIB, size: sizesMiB.esp * MIB }, ...extents, size: offset + MIB }
}

export async function makeExt4(
  tools: Tools,
  spec: { file: string; MiB: number; label: string; uuid: string; tree?: string; blockBytes?: number },
): Promise<void> {
  const options = `hash_seed=${spec.uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0`
  await tools.run(
    'mkfs.ext4',
    [
      ...['-q', '-L', spec.label, '-U', spec.uuid, '-E', options, '-J', 'size=4', '-m', '0'],
      ...(spec.blockBytes ? ['-b', String(spec.blockBytes)] : []),
      ...(spec.tree ? ['-d', spec.tree] : []),
      ...[spec.file, `${spec.MiB}M`],
    ],
    { fakeRoot: true, environment: { SOURCE_DATE_EPOCH: '1' } },
  )
}

async function cutHeader(tools: Tools, { from, to }: { from: string; to: string }): Promise<void> {
  const bytes = await headerBytes(tools, from)
  await tools.run('dd', [
    `if=${from}`,
    `of=${to}`,
    'bs=64K',
    `count=${bytes / 65536}`,
    'conv=sparse',
    'status=none',
  ])
}

/** `uuids`: of partitions, where they do not follow from the key. */
export async function assemble(
  tools: Tools,
  {
    into,
    key,
    layout,
    files,
    uuids = {},
  }: {
    into: string
    key: string
    layout: Layout
    files: Partial<Record<PartitionName, string>>
    uuids?: Partial<Record<PartitionName, string>>
  },
): Promise<void> {
  const disk = join(into, 'disk.raw')
  await writeFile(disk, '')
  await truncate(disk, layout.size)
  await tools.run('sfdisk', ['--quiet', disk], { input: sfdiskScript(layout, { key, uuids }) })
  for (const name of PARTITIONS) {
    const extent = layout[name]
    const file = files[name]
    if (!extent || !file) continue
    await tools.run('dd', [
      ...[`if=${file}`, `of=${disk}`, 'bs=1M', `seek=${extent.offset / MIB}`],
      ...['conv=notrunc,sparse', 'status=none'],
    ])
  }
  await tools.run('chmod', ['0444', disk])
}

function sfdiskScript(
  layout: Layout,
  { key, uuids }: { key: string; uuids: Partial<Record<PartitionName, string>> },
): string {
  const types: Record<PartitionName, string> = {
    esp: PARTITION_TYPES.esp,
    data: PARTITION_TYPES.linuxData,
    'luks-header': PARTITION_TYPES.linuxData,
    root: PARTITION_TYPES.rootX64,
    'root-verity': PARTITION_TYPES.rootX64Verity,
  }
  const lines = PARTITIONS.flatMap((name) => {
    const extent = layout[name]
    if (!extent) return []
    const place = `start=${extent.offset / 512}, size=${extent.size / 512}`
    const uuid = uuids[name] ?? uuidOf(key, `partition ${name}`)
    return [`${place}, type=${types[name]}, uuid=${uuid}, name=${name}`]
  })
  return ['label: gpt', `label-id: ${uuidOf(key, 'disk')}`, ...lines, ''].join('\n')
}

/** Equal inputs give equal disks: identifiers follow from the key. Version 8 (custom), RFC 9562. */
export function uuidOf(key: string, purpose: string): string {
  const hex = sha256Hex(`${key} ${purpose}`)
  const variant = ((Number.parseInt(hex[16] ?? '0', 16) & 3) | 8).toString(16)
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-')
}
