/** The EFI system partition of a VM that is off, read and changed from the host without mounting it. */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import type { HardDriveNode } from '../formats/device-path.ts'
import { type FatVolume, parseFat } from '../formats/fat.ts'
import { PARTITION_TYPES, parseGpt } from '../formats/gpt.ts'
import type { Tools } from '../system/tools.ts'
import { directoriesOf, writeRegion } from './boot-disk.ts'

const SECTOR_BYTES = 512
/** Holds the primary table of any disk with 512-byte sectors. */
const TABLE_BYTES = 1 << 20

export interface Esp {
  readonly disk: string
  /** As a device path names it. */
  readonly partition: HardDriveNode
  /** In bytes, on the disk. */
  readonly offset: number
  readonly size: number
}

/** A path is from the ESP's root, with `/`. */
export type EspChange =
  /** A new file, or new content for one; directories above it are made. */
  | { readonly kind: 'put'; readonly path: string; readonly file: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }

/** Finds the ESP of a qcow2 disk. `directory`: private, for scratch. Throws FormatError, MaterialError `bad-format`. */
export async function findEsp(
  tools: Tools,
  { disk, directory }: { readonly disk: string; readonly directory: string },
): Promise<Esp> {
  const sectorsInFront = await readRegion(tools, { disk, directory, offset: 0, size: TABLE_BYTES })
  const table = inFile({ what: 'partition table', file: disk }, () => parseGpt(sectorsInFront))
  const found = table.partitions.find(({ type }) => type === PARTITION_TYPES.esp)
  if (found === undefined)
    throw new MaterialError(`cannot find the ESP of ${disk}: none of its partitions is one`, {
      code: 'bad-format',
    })
  const { number, guid, offset, size } = found
  const [start, sectors] = [BigInt(offset / SECTOR_BYTES), BigInt(size / SECTOR_BYTES)]
  return { disk, offset, size, partition: { partition: number, start, size: sectors, guid } }
}

/** Reads the whole partition. Throws FormatError with the offset on the disk where it is no FAT volume. */
export async function readEsp(tools: Tools, esp: Esp, directory: string): Promise<FatVolume> {
  return parseEsp(esp, await readRegion(tools, { ...esp, directory }))
}

function parseEsp({ disk, offset }: Esp, bytes: Uint8Array): FatVolume {
  return inFile({ what: 'ESP', file: disk, offset }, () => parseFat(bytes))
}

/**
 * Makes the changes in order, with mtools; the VM must be off. Throws FormatError where it is no FAT volume,
 * MaterialError `disk-full` before anything is written where a file does not fit.
 */
export async function changeEsp(
  tools: Tools,
  esp: Esp,
  { directory, changes }: { readonly directory: string; readonly changes: readonly EspChange[] },
): Promise<void> {
  const scratch = await mkdtemp(join(directory, 'esp-'))
  try {
    const volume = join(scratch, 'esp.img')
    await copyRegion(tools, { ...esp, to: volume })
    for (const change of changes) {
      const fat = parseEsp(esp, await readFile(volume))
      await applyChange(tools, { volume, fat, esp }, change)
    }
    await writeRegion(tools, esp.disk, { file: volume, offset: esp.offset })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

interface OpenEsp {
  readonly volume: string
  readonly fat: FatVolume
  readonly esp: Esp
}

async function applyChange(tools: Tools, open: OpenEsp, change: EspChange): Promise<void> {
  const at = ['-i', open.volume]
  switch (change.kind) {
    case 'put':
      return putFile(tools, open, change)
    case 'remove':
      await tools.run('mdel', [...at, `::/${change.path}`])
      return
    case 'rename':
      await tools.run('mren', [...at, `::/${change.from}`, `::/${change.to}`])
  }
}

async function putFile(
  tools: Tools,
  { volume, fat, esp }: OpenEsp,
  { path, file }: Extract<EspChange, { kind: 'put' }>,
): Promise<void> {
  const { size } = await stat(file)
  const room = fat.freeBytes + (fat.find(path)?.size ?? 0)
  if (size > room)
    throw new MaterialError(
      `cannot put ${path} on the ESP of ${esp.disk} (at 0x${esp.offset.toString(16)}): it needs ${size} bytes, ${room} are free`,
      { code: 'disk-full' },
    )
  const missing = directoriesOf([path]).filter((directory) => fat.find(directory) === undefined)
  if (missing.length > 0) await tools.run('mmd', ['-i', volume, ...missing.map((each) => `::/${each}`)])
  await tools.run('mcopy', ['-o', '-i', volume, file, `::/${path}`])
}

interface Region {
  readonly disk: string
  readonly offset: number
  readonly size: number
}

async function readRegion(tools: Tools, region: Region & { readonly directory: string }): Promise<Buffer> {
  const scratch = await mkdtemp(join(region.directory, 'read-'))
  try {
    const to = join(scratch, 'region.img')
    await copyRegion(tools, { ...region, to })
    return await readFile(to)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** A window onto the disk: `qemu-img dd` counts what it skips among what it copies. */
async function copyRegion(
  tools: Tools,
  { disk, offset, size, to }: Region & { readonly to: string },
): Promise<void> {
  const file = { driver: 'qcow2', file: { driver: 'file', filename: disk } }
  const source = `json:${JSON.stringify({ driver: 'raw', offset, size, file })}`
  await tools.run('qemu-img', ['convert', '-O', 'raw', source, to])
}
