/** A small FAT disk with files for a guest, without partitions: how an update reaches it without a network. */
import { stat, truncate, writeFile } from 'node:fs/promises'
import type { Tools } from '../system/tools.ts'

const LABEL = 'UPDATE'
const MIB = 1 << 20
/** For the tables, and FAT32's smallest size. */
const SPARE_MIB = 34

/** Writes `image` (raw), with `files` in its root: name to file. */
export async function makeUpdateMedium(
  tools: Tools,
  { image, files }: { readonly image: string; readonly files: Readonly<Record<string, string>> },
): Promise<void> {
  const sizes = await Promise.all(Object.values(files).map(async (file) => (await stat(file)).size))
  const needed = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / MIB)
  await writeFile(image, '', { mode: 0o600 })
  await truncate(image, (needed + SPARE_MIB) * MIB)
  await tools.run('mkfs.vfat', ['-F', '32', '-n', LABEL, image])
  for (const [name, file] of Object.entries(files))
    await tools.run('mcopy', ['-i', image, file, `::/${name}`])
}
