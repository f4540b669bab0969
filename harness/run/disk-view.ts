/** A VM's disk as the guest sees it, read while the VM is off. */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type FatVolume, parseFat } from '../formats/fat.ts'
import { PARTITION_TYPES, type Partition, parseGpt } from '../formats/gpt.ts'
import type { ScenarioVm } from './vm.ts'

const SECTOR_BYTES = 512
const GPT_BYTES = 34 * SECTOR_BYTES
const MIB = 1 << 20

export interface DiskView {
  /** Start of the disk up to the end of the partition table. */
  readonly start: Uint8Array
  readonly partitions: readonly Partition[]
  /** Undefined for a disk without an ESP. */
  readonly esp: FatVolume | undefined
}

/** Throws FormatError where the table or the ESP's file system is malformed. */
export async function viewDisk(vm: ScenarioVm): Promise<DiskView> {
  vm.requireOff('read the disk')
  const start = await readDisk(vm, { offset: 0, size: GPT_BYTES })
  const { partitions } = parseGpt(start)
  const esp = partitions.find(({ type }) => type === PARTITION_TYPES.esp)
  return { start, partitions, esp: esp && parseFat(await readDisk(vm, esp)) }
}

/** Whole sectors. */
export async function readDisk(
  vm: ScenarioVm,
  { offset, size }: { readonly offset: number; readonly size: number },
): Promise<Uint8Array> {
  const target = join(vm.spec.directory, 'read.img')
  // Small blocks are slow, and places are given in blocks.
  const block = [MIB, SECTOR_BYTES].find((each) => offset % each === 0 && size % each === 0) ?? 1
  await vm.spec.bench.tools.run('qemu-img', [
    ...['dd', '-f', vm.disk.format, '-O', 'raw', `bs=${block}`],
    // The count is from the start of the disk, not from what is skipped.
    ...[`skip=${offset / block}`, `count=${(offset + size) / block}`, `if=${vm.disk.file}`, `of=${target}`],
  ])
  const bytes = await readFile(target)
  await rm(target)
  return bytes
}
