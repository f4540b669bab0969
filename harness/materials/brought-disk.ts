/** Looks at a disk that somebody brought, and makes overlays of it. It is never written, and opened read-only. */
import { open, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { tmpName } from 'tmp-promise'
import { FormatError, MaterialError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import { checkFatStart } from '../formats/fat.ts'
import { PARTITION_TYPES, type Partition, type PartitionTable, parseGpt } from '../formats/gpt.ts'
import { createOverlay } from './boot-disk.ts'
import type { BroughtImage, DiskFormat, PartitionSelector } from './brought-image.ts'
import type { MaterialContext } from './context.ts'

type ToolContext = Pick<MaterialContext, 'tools'>

export interface InspectedDisk {
  /** Bytes that the guest sees. */
  readonly size: number
  readonly esp: Partition
  readonly root: Partition
}

/** Enough for the protective MBR, the header and 128 entries. */
const TABLE_BYTES = 64 * 1024
const SECTOR_BYTES = 512
const MAGICS: readonly { readonly format: DiskFormat; readonly magic: Buffer }[] = [
  { format: 'qcow2', magic: Buffer.from('QFI\xfb', 'latin1') },
  { format: 'vmdk', magic: Buffer.from('KDMV') },
  { format: 'vmdk', magic: Buffer.from('# Disk DescriptorFile') },
  { format: 'vhdx', magic: Buffer.from('vhdxfile') },
]
/** vmdk files that hold their data themselves. */
const SINGLE_FILE_VMDK = ['monolithicSparse', 'streamOptimized']

/**
 * Checks that the disk is there, whole, of the declared format, refers to no other file and has the declared
 * partitions, of which the ESP is FAT. Throws MaterialError `missing`, `truncated`, `bad-format`, `in-use`, FormatError for
 * the ESP.
 */
export async function inspectBroughtDisk(context: ToolContext, image: BroughtImage): Promise<InspectedDisk> {
  const { path, format } = image.disk
  await requireFile(image)
  await requireMagic(image)
  const info = await imageInfo(context, image)
  requireSelfContained(image, info)
  if (format === 'qcow2') await requireAllClusters(context, image)
  const size = info['virtual-size']
  const table = readTable(image, await readStart(context, image, size))
  const needed = Math.max(table.diskSize, ...table.partitions.map((each) => each.offset + each.size))
  if (size < needed) throw truncated(path, { current: size, required: needed })
  const esp = select(image, table.partitions, 'esp')
  if (esp.type !== PARTITION_TYPES.esp)
    throw badFormat(image, `partition ${esp.number} has type ${esp.type}, an ESP has ${PARTITION_TYPES.esp}`)
  await requireFat(context, image, esp)
  return { size, esp, root: select(image, table.partitions, 'root') }
}

/** The disk of one VM: an overlay in `directory` that takes all writes. Look at the disk first. */
export async function prepareBroughtDisk(
  context: ToolContext,
  {
    image,
    directory,
    name = 'disk',
  }: { readonly image: BroughtImage; readonly directory: string; readonly name?: string },
): Promise<{ readonly file: string; readonly format: 'qcow2' }> {
  const file = join(directory, `${name}.qcow2`)
  await createOverlay(context.tools, { file, backing: image.disk.path, backingFormat: image.disk.format })
  return { file, format: 'qcow2' }
}

interface ImageInfo {
  readonly 'virtual-size': number
  readonly 'backing-filename'?: string
  readonly 'format-specific'?: {
    readonly data?: { readonly 'data-file'?: string; readonly 'create-type'?: string }
  }
}

async function requireFile({ disk, description }: BroughtImage): Promise<void> {
  const found = await stat(disk.path).catch((cause: unknown) => {
    throw new MaterialError(`cannot use image ${description.id}: there is no disk at ${disk.path}`, {
      code: 'missing',
      hint: `disk.path in ${description.file}`,
      cause,
    })
  })
  if (found.isFile()) return
  throw new MaterialError(`cannot use image ${description.id}: ${disk.path} is not a regular file`, {
    code: 'bad-format',
  })
}

/** A guest can write any magic into a raw disk, so what is declared counts; what contradicts it is refused. */
async function requireMagic(image: BroughtImage): Promise<void> {
  const { path, format } = image.disk
  const handle = await open(path, 'r')
  const start = Buffer.alloc(512)
  try {
    await handle.read(start, 0, start.length, 0)
  } finally {
    await handle.close()
  }
  const found = MAGICS.find(({ magic }) => start.subarray(0, magic.length).equals(magic))?.format ?? 'raw'
  if (found !== format) throw badFormat(image, `it is declared to be ${format} and looks like ${found}`)
}

async function imageInfo(context: ToolContext, image: BroughtImage): Promise<ImageInfo> {
  const { path, format } = image.disk
  const { stdout } = await ask(context, image, ['info', '--output=json', '-f', format, path])
  return JSON.parse(stdout.toString()) as ImageInfo
}

/** Another file that an image names would be read as the user: the guest must not choose which. */
function requireSelfContained(image: BroughtImage, info: ImageInfo): void {
  const data = info['format-specific']?.data
  const type = data?.['create-type']
  const other =
    info['backing-filename'] ??
    data?.['data-file'] ??
    (type !== undefined && !SINGLE_FILE_VMDK.includes(type) ? `its extents (${type})` : undefined)
  if (other !== undefined)
    throw badFormat(image, `it refers to another file, ${other}; one self-contained file is required`, {
      hint: `qemu-img convert -O qcow2 ${image.disk.path} whole.qcow2`,
    })
}

/** `qemu-img check` names the clusters that lie beyond the end of the file, the last ones last. */
const BEYOND_END = /exceeding the end of the file.* offset 0x([0-9a-f]+) size 0x([0-9a-f]+)/g
/** It ends so when all that is wrong are clusters that nothing uses: what a killed VM leaves behind. */
const LEAKS_ONLY = /ended with exit code 3,/

async function requireAllClusters(context: ToolContext, image: BroughtImage): Promise<void> {
  const { path } = image.disk
  try {
    await context.tools.run('qemu-img', ['check', '-f', 'qcow2', path])
  } catch (error) {
    if (!(error instanceof MaterialError)) throw error
    if (LEAKS_ONLY.test(error.message)) return
    const ends = [...error.message.matchAll(BEYOND_END)].map(
      ([, offset = '', size = '']) => Number.parseInt(offset, 16) + Number.parseInt(size, 16),
    )
    if (ends.length === 0) throw badFormat(image, error.message, { cause: error })
    throw truncated(path, { current: (await stat(path)).size, required: Math.max(...ends) })
  }
}

function readStart(context: ToolContext, image: BroughtImage, size: number): Promise<Uint8Array> {
  return readSectors(context, image, {
    first: 0,
    count: Math.ceil(Math.min(TABLE_BYTES, size) / SECTOR_BYTES),
  })
}

/** The firmware would say no more than that it found nothing to boot. */
async function requireFat(context: ToolContext, image: BroughtImage, esp: Partition): Promise<void> {
  const { offset, size } = esp
  const start = await readSectors(context, image, { first: offset / SECTOR_BYTES, count: 1 })
  inFile({ what: 'ESP', file: image.disk.path, offset }, () => checkFatStart(start, size))
}

async function readSectors(
  context: ToolContext,
  image: BroughtImage,
  { first, count }: { readonly first: number; readonly count: number },
): Promise<Uint8Array> {
  const { path, format } = image.disk
  const file = await tmpName({ prefix: 'attestbed-sectors-' })
  // The count is from the start of the disk, not from what is skipped.
  const window = [`bs=${SECTOR_BYTES}`, `skip=${first}`, `count=${first + count}`]
  try {
    await ask(context, image, ['dd', '-f', format, '-O', 'raw', ...window, `if=${path}`, `of=${file}`])
    return await readFile(file)
  } finally {
    await rm(file, { force: true })
  }
}

function readTable(image: BroughtImage, start: Uint8Array): PartitionTable {
  try {
    return parseGpt(start)
  } catch (cause) {
    if (cause instanceof FormatError) throw badFormat(image, cause.message, { cause })
    throw cause
  }
}

function select(image: BroughtImage, partitions: readonly Partition[], role: 'esp' | 'root'): Partition {
  const wanted: PartitionSelector = image.partitions[role]
  const matching = partitions.filter(
    ({ number, label }) => (typeof wanted === 'number' ? number : label) === wanted,
  )
  const [found] = matching
  if (found && matching.length === 1) return found
  const present = partitions.map(({ number, label }) => `${number} "${label}"`).join(', ')
  const problem = `${matching.length} partitions are ${JSON.stringify(wanted)}, one is required; there are: ${present}`
  throw badFormat(image, problem, { hint: `partitions.${role} in ${image.description.file}` })
}

async function ask(
  context: ToolContext,
  image: BroughtImage,
  args: readonly string[],
): Promise<{ stdout: Buffer }> {
  try {
    return await context.tools.run('qemu-img', args)
  } catch (error) {
    if (!(error instanceof MaterialError)) throw error
    const { path } = image.disk
    if (/lock/.test(error.message))
      throw new MaterialError(`cannot use ${path}: another program has it open for writing`, {
        code: 'in-use',
        cause: error,
      })
    throw badFormat(image, error.message, { cause: error })
  }
}

function badFormat(
  { disk, description }: BroughtImage,
  problem: string,
  details: { readonly hint?: string; readonly cause?: unknown } = {},
): MaterialError {
  return new MaterialError(`cannot use disk ${disk.path} of image ${description.id}: ${problem}`, {
    code: 'bad-format',
    ...details,
  })
}

function truncated(
  path: string,
  { current, required }: { current: number; required: number },
): MaterialError {
  return new MaterialError(`cannot use disk ${path}: it has ${current} bytes, ${required} are required`, {
    code: 'truncated',
    hint: 'copy or download it again',
  })
}
