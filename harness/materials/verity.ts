/**
 * dm-verity without a kernel: hash trees made over files (cryptsetup's on-disk format 1, kernel documentation
 * "device-mapper/verity"). A root of this kind is read-only and in clear, and its root hash is to be measured.
 */
import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { MaterialError } from '../base/errors.ts'
import type { Tools } from '../system/tools.ts'
import type { Extent } from './disk.ts'

/** Of data and of hashes; what both are addressed by. */
export const VERITY_BLOCK_BYTES = 4096
const MIB = 1 << 20

/** How a tree is made; with equal ones equal data has an equal root hash. */
export interface VerityFormat {
  /** Of the tree's superblock. */
  readonly uuid: string
  /** Hex. */
  readonly salt: string
}

/** A root with its tree on one disk. */
export interface VerityRoot extends VerityFormat {
  /** SHA-256, hex: all of the root hangs on it. */
  readonly rootHash: string
  /** Partition with superblock and tree. */
  readonly hashes: Extent
}

/** Whole MiB that the tree over `dataMiB` needs: a 128th for the leaves, a 128th of that for the next level, and so on. */
export function verityTreeMiB(dataMiB: number): number {
  return Math.ceil(dataMiB / 127) + 1
}

/** Writes the tree over `data`, a file, to the file `hashes`, which is made `hashMiB` long. Returns the root hash in hex. */
export async function makeVerityTree(
  tools: Tools,
  {
    data,
    hashes,
    hashMiB,
    format,
  }: {
    readonly data: string
    readonly hashes: string
    readonly hashMiB: number
    readonly format: VerityFormat
  },
): Promise<string> {
  await writeFile(hashes, '')
  await truncate(hashes, hashMiB * MIB)
  const told = `${hashes}.root-hash`
  await tools.run('veritysetup', [
    ...['format', '--hash', 'sha256', '--uuid', format.uuid, '--salt', format.salt],
    ...['--data-block-size', String(VERITY_BLOCK_BYTES), '--hash-block-size', String(VERITY_BLOCK_BYTES)],
    ...['--root-hash-file', told, data, hashes],
  ])
  const rootHash = (await readFile(told, 'utf8')).trim()
  await rm(told)
  if (/^[0-9a-f]{64}$/.test(rootHash)) return rootHash
  throw new MaterialError(`veritysetup gave the root hash "${rootHash.slice(0, 80)}", no SHA-256 in hex`, {
    code: 'bad-format',
  })
}

/**
 * GUIDs of the partitions by which systemd finds them from the root hash alone: its first half is the root's, its second
 * that of the tree (UAPI, Discoverable Partitions Specification).
 */
export function verityPartitionIds(rootHash: string): {
  readonly root: string
  readonly 'root-verity': string
} {
  const id = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  return { root: id(rootHash.slice(0, 32)), 'root-verity': id(rootHash.slice(32, 64)) }
}
