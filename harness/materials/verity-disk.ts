/** A disk whose root is in clear, read-only, and under a hash tree. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import {
  assemble,
  type BaseDisk,
  type BaseDiskRequest,
  type DiskRecord,
  layOut,
  makeExt4,
  uuidOf,
} from './disk.ts'
import { makeVerityTree, VERITY_BLOCK_BYTES, verityPartitionIds, verityTreeMiB } from './verity.ts'

/** Bump when the layout, or what a partition is made with, changes. */
const FORMAT = 2

/** ESP (empty), `data`, the `root` with `tree` in it, and `root-verity`. Equal requests give equal root hashes. */
export async function ensureVerityDisk(
  context: MaterialContext,
  request: BaseDiskRequest,
): Promise<BaseDisk> {
  const { id, tree, treeKey, espMiB, dataMiB, rootMiB } = request
  const { tools } = context
  const key = contentKey({
    ...{ format: FORMAT, kind: 'verity', tools: tools.digest, treeKey, espMiB, dataMiB, rootMiB },
  })
  const hashMiB = verityTreeMiB(rootMiB)
  const directory = await context.store.ensure('disk', key, async (into) => {
    const layout = layOut({ esp: espMiB, data: dataMiB, root: rootMiB, 'root-verity': hashMiB })
    const { 'root-verity': hashes, ...others } = layout
    if (hashes === undefined) throw new Error('a hash tree has a size')
    const file = (name: string) => join(into, `${name}.img`)
    const [data, root, hashTree] = [file('data'), file('root'), file('root-verity')]
    context.progress?.({ image: id, step: 'file systems' })
    await makeExt4(tools, { file: data, MiB: dataMiB, label: 'data', uuid: uuidOf(key, 'data') })
    await makeExt4(tools, {
      ...{ file: root, MiB: rootMiB, label: 'root', uuid: uuidOf(key, 'root'), tree },
      // A device under a tree has no smaller blocks.
      blockBytes: VERITY_BLOCK_BYTES,
    })
    context.progress?.({ image: id, step: 'hash tree' })
    const format = { uuid: uuidOf(key, 'verity'), salt: sha256Hex(`${key} salt`) }
    const rootHash = await makeVerityTree(tools, { data: root, hashes: hashTree, hashMiB, format })
    context.progress?.({ image: id, step: 'disk' })
    const files = { data, root, 'root-verity': hashTree }
    await assemble(tools, { into, key, layout, files, uuids: verityPartitionIds(rootHash) })
    await tools.run('rm', [data, root, hashTree])
    const record: DiskRecord = {
      ...{ ...others, sha256: await sha256File(join(into, 'disk.raw')) },
      verity: { ...format, rootHash, hashes },
    }
    await writeFile(join(into, 'disk.json'), JSON.stringify(record))
  })
  const record = JSON.parse(await readFile(join(directory, 'disk.json'), 'utf8')) as DiskRecord
  return { ...record, key, file: join(directory, 'disk.raw') }
}
