/** What a host writes to the disk of a VM that is off, in the place of what was there. */
import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { writeRegion } from '../materials/boot-disk.ts'
import type { BaseDisk, Extent } from '../materials/disk.ts'
import { makeVerityTree, VERITY_BLOCK_BYTES } from '../materials/verity.ts'
import type { Attack, Victim } from './attack.ts'

const PIECE_BYTES = 4 << 20
const DETECTED_BY = 'the hash tree, at the first read of the block'

/** A partition of the disk, and what is different in it. */
export interface ChangedText {
  readonly partition: 'data' | 'root'
  /** What is there, once, as the disk was made. */
  readonly from: string
  /** As many bytes. */
  readonly to: string
  /** Hears which block of the partition that is, of 4096 bytes. */
  readonly onBlock?: (block: number) => void
}

/** A word of a file is another one; no other byte of the disk is. */
export function changedText({ partition, from, to, onBlock }: ChangedText): Attack {
  return {
    id: 'changed-text',
    seam: 'disk',
    interference: `the host writes "${to}" where "${from}" is on partition ${partition}`,
    detectedBy: DETECTED_BY,
    apply: async (victim) => {
      const extent = extentOf(victim, partition)
      const old = Buffer.from(from)
      const place = await placeOf(diskOf(victim).base, extent, old)
      const block = Math.floor(place / VERITY_BLOCK_BYTES)
      const bytes = await readBase(diskOf(victim).base, extent.offset + block * VERITY_BLOCK_BYTES)
      const at = place % VERITY_BLOCK_BYTES
      if (Buffer.byteLength(to) !== old.length || at + old.length > bytes.length)
        throw unusable(`"${to}" does not fit exactly where "${from}" is, within one block`)
      bytes.write(to, at)
      onBlock?.(block)
      await put(victim, extent, { block, bytes })
    },
  }
}

/** A block of a partition that nothing uses holds `text`, whatever was there; -1 is the last. */
export function changedBlock({
  partition,
  block,
  text,
}: {
  readonly partition: 'data' | 'root'
  readonly block: number
  readonly text: string
}): Attack {
  return {
    id: 'changed-block',
    seam: 'disk',
    interference: `the host writes "${text}" to block ${block} of partition ${partition}`,
    detectedBy: partition === 'root' ? DETECTED_BY : 'nothing: it is no part of the root',
    apply: async (victim) => {
      const extent = extentOf(victim, partition)
      const bytes = Buffer.alloc(VERITY_BLOCK_BYTES)
      bytes.write(text)
      const blocks = extent.size / VERITY_BLOCK_BYTES
      await put(victim, extent, { block: block < 0 ? blocks + block : block, bytes })
    },
  }
}

/** The hash tree is made anew over the root as it is now, in the form of the one that was there. */
export function newHashTree({ onRootHash }: { readonly onRootHash: (rootHash: string) => void }): Attack {
  return {
    id: 'new-hash-tree',
    seam: 'disk',
    interference: 'the host makes the hash tree anew, over the root that it changed',
    detectedBy: 'the root hash, which is another one',
    apply: async (victim) => {
      const { directory, tools } = victim
      const { base, file } = diskOf(victim)
      const { verity, root } = base
      if (!verity || !root) throw unusable('the disk has no root under a hash tree')
      const [data, hashes] = [join(directory, 'root.img'), join(directory, 'root-verity.img')]
      await tools.run('qemu-img', ['convert', '-O', 'raw', '--image-opts', partOf(file, root), data])
      const hashMiB = verity.hashes.size / (1 << 20)
      onRootHash(await makeVerityTree(tools, { data, hashes, hashMiB, format: verity }))
      await writeRegion(tools, file, { file: hashes, offset: verity.hashes.offset })
      await Promise.all([rm(data), rm(hashes)])
    },
  }
}

function partOf(file: string, { offset, size }: Extent): string {
  // A comma ends an option, unless it is doubled.
  const name = file.replaceAll(',', ',,')
  return `driver=raw,offset=${offset},size=${size},file.driver=qcow2,file.file.driver=file,file.file.filename=${name}`
}

function diskOf({ disk }: Victim): NonNullable<Victim['disk']> {
  if (disk) return disk
  throw unusable('the disk is not one that was made here')
}

function extentOf(victim: Victim, partition: 'data' | 'root'): Extent {
  const extent = diskOf(victim).base[partition]
  if (extent) return extent
  throw unusable(`the disk has no partition ${partition}`)
}

/** Where in the partition `bytes` are; they must be there once. */
async function placeOf({ file }: BaseDisk, { offset, size }: Extent, bytes: Buffer): Promise<number> {
  const handle = await open(file, 'r')
  const places: number[] = []
  try {
    const piece = Buffer.alloc(PIECE_BYTES + bytes.length - 1)
    for (let from = 0; from < size; from += PIECE_BYTES) {
      const length = Math.min(piece.length, size - from)
      await handle.read(piece, 0, length, offset + from)
      for (
        let at = piece.indexOf(bytes);
        at >= 0 && at + bytes.length <= length;
        at = piece.indexOf(bytes, at + 1)
      )
        places.push(from + at)
    }
  } finally {
    await handle.close()
  }
  const [place] = new Set(places)
  if (place !== undefined && new Set(places).size === 1) return place
  throw unusable(
    `"${bytes.toString()}" is on the partition ${new Set(places).size} times, it must be there once`,
  )
}

async function readBase({ file }: BaseDisk, offset: number): Promise<Buffer> {
  const handle = await open(file, 'r')
  try {
    const bytes = Buffer.alloc(VERITY_BLOCK_BYTES)
    await handle.read(bytes, 0, bytes.length, offset)
    return bytes
  } finally {
    await handle.close()
  }
}

async function put(
  victim: Victim,
  { offset }: Extent,
  { block, bytes }: { readonly block: number; readonly bytes: Uint8Array },
): Promise<void> {
  const file = join(victim.directory, 'changed-block.bin')
  await writeFile(file, bytes)
  await writeRegion(victim.tools, diskOf(victim).file, { file, offset: offset + block * VERITY_BLOCK_BYTES })
  await rm(file)
}

function unusable(why: string): UsageError {
  return new UsageError(`cannot change the disk: ${why}`, { code: 'bad-scenario' })
}
