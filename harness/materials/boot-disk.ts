/** A base disk with files on its ESP: what VMs that boot the same things share. */
import { open, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { Tools } from '../system/tools.ts'
import { contentKey, type MaterialContext } from './context.ts'
import type { BaseDisk, Extent } from './disk.ts'

/** Bump when the file system of the ESP, or how it is put on the disk, changes. */
const FORMAT = 1
/** The path that firmware boots without an entry in its variables. */
export const FALLBACK_BOOT_PATH = 'EFI/BOOT/BOOTX64.EFI'
const BLOCK_BYTES = 1 << 20
const VOLUME_ID = 'A77E57BD'

/** Path on the ESP (with "/") to what lies there. */
export type EspFiles = Readonly<Record<string, { readonly file: string; readonly sha256: string }>>

export interface BootDisk {
  /** qcow2 over the base disk; read-only. */
  readonly file: string
  readonly format: 'qcow2'
  readonly base: BaseDisk
}

export async function ensureBootDisk(
  context: MaterialContext,
  { base, files }: { readonly base: BaseDisk; readonly files: EspFiles },
): Promise<BootDisk> {
  const digests = Object.fromEntries(Object.entries(files).map(([path, { sha256 }]) => [path, sha256]))
  const key = contentKey({ format: FORMAT, tools: context.tools.digest, base: base.key, files: digests })
  const directory = await context.store.ensure('boot-disk', key, async (into) => {
    const esp = join(into, 'esp.img')
    await makeEsp(context.tools, { file: esp, extent: base.esp, files })
    const disk = join(into, 'disk.qcow2')
    await createOverlay(context.tools, { file: disk, backing: base.file, backingFormat: 'raw' })
    await cutZeros(esp)
    await writeRegion(context.tools, disk, { file: esp, offset: base.esp.offset })
    await context.tools.run('rm', [esp])
    await context.tools.run('chmod', ['0444', disk])
  })
  return { file: join(directory, 'disk.qcow2'), format: 'qcow2', base }
}

async function makeEsp(
  tools: Tools,
  { file, extent, files }: { file: string; extent: Extent; files: EspFiles },
): Promise<void> {
  const sizes = await Promise.all(Object.values(files).map(async (each) => (await stat(each.file)).size))
  const needed = sizes.reduce((sum, size) => sum + size, 0)
  if (needed > extent.size * 0.98)
    throw new MaterialError(
      `cannot fill the ESP: its files need ${needed} bytes, the partition has ${extent.size}`,
      {
        code: 'build-failed',
        hint: 'raise espMiB in the recipe',
      },
    )
  await writeFile(file, '')
  await truncate(file, extent.size)
  await tools.run('mkfs.vfat', ['-F', '32', '-n', 'ESP', '-i', VOLUME_ID, '--invariant', file])
  const directories = directoriesOf(Object.keys(files)).map((path) => `::/${path}`)
  if (directories.length > 0) await tools.run('mmd', ['-i', file, ...directories])
  for (const [path, each] of Object.entries(files))
    await tools.run('mcopy', ['-i', file, each.file, `::/${path}`])
}

/** Puts a fresh ESP with `files` on a VM's own disk, in the place of the one it has; `directory` is for scratch. */
export async function replaceEsp(
  tools: Tools,
  { disk, base, files, directory }: { disk: string; base: BaseDisk; files: EspFiles; directory: string },
): Promise<void> {
  const esp = join(directory, 'esp.img')
  await makeEsp(tools, { file: esp, extent: base.esp, files })
  // Zeros too: what the old ESP had there must go.
  await writeRegion(tools, disk, { file: esp, offset: base.esp.offset })
  await rm(esp)
}

/** Every directory above `paths`, parents first. Pure. */
export function directoriesOf(paths: readonly string[]): readonly string[] {
  const all = paths.flatMap((path) => {
    const parts = path.split('/').slice(0, -1)
    return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
  })
  return [...new Set(all)].sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
}

/** A qcow2 file that reads as `backing` until it is written to. */
export async function createOverlay(
  tools: Tools,
  { file, backing, backingFormat }: { file: string; backing: string; backingFormat: string },
): Promise<void> {
  await tools.run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', backingFormat, '-b', backing, file])
}

/**
 * Writes all of `file` (a multiple of 512 bytes) at `offset` of a qcow2 disk. qemu-io splits its commands at blanks
 * and knows no quotes: it is started where the file is, whose name must have none.
 */
export async function writeRegion(
  tools: Tools,
  disk: string,
  { file, offset }: { readonly file: string; readonly offset: number },
): Promise<void> {
  const { size } = await stat(file)
  const command = `write -q -s ${basename(file)} ${offset} ${size}`
  await tools.run('qemu-io', ['-f', 'qcow2', '-t', 'unsafe', '-c', command, disk], { cwd: dirname(file) })
}

/** Cuts off the zeros at the end of a file, in whole blocks: where it goes to there are zeros already. */
async function cutZeros(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const block = Buffer.alloc(BLOCK_BYTES)
    const zeros = Buffer.alloc(BLOCK_BYTES)
    let { size } = await handle.stat()
    while (size >= BLOCK_BYTES) {
      await handle.read(block, 0, BLOCK_BYTES, size - BLOCK_BYTES)
      if (!block.equals(zeros)) break
      size -= BLOCK_BYTES
    }
    await handle.truncate(size)
  } finally {
    await handle.close()
  }
}
