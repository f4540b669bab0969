/** Which structure a write changed, in words that are safe to print: the guest names its files and partitions. */
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { type FatExtent, type FatVolume, parseFat } from '../../formats/fat.ts'
import { flashPlace } from '../../formats/flash-places.ts'
import type { Partition } from '../../formats/gpt.ts'

const SECTOR_BYTES = 512

export interface DiskBefore {
  /** The ESP before and after the write: what a new file's clusters are, only the later one says. */
  readonly before: Uint8Array
  readonly after: Uint8Array
  /** When the update has ended: what becomes of clusters that belong to no file yet. */
  readonly end: Uint8Array
  readonly esp: FatExtent
  readonly partitions: readonly Partition[]
}

/** `directory EFI/Linux`, `sectors 12 to 19 of EFI/Linux/a.efi`, `table 1`, `partition root`. */
export function describeDiskWrite(place: FatExtent, disk: DiskBefore): string {
  const { offset, size } = place
  const { esp, partitions } = disk
  if (offset >= esp.offset && offset + size <= esp.offset + esp.size) {
    const inside = { offset: offset - esp.offset, size }
    const now = placeIn(disk.after, inside) ?? placeIn(disk.before, inside)
    const later = now === undefined ? placeIn(disk.end, inside) : undefined
    const words = now ?? (later === undefined ? 'clusters of no file' : `what becomes ${later}`)
    return `${escapeControls(words)} (sector ${inside.offset / SECTOR_BYTES} of the ESP, ${size} bytes)`
  }
  const partition = partitions.find((each) => offset >= each.offset && offset < each.offset + each.size)
  const what = partition ? `partition ${partition.label || partition.number}` : 'the partition table'
  return `${escapeControls(what)} (sector ${offset / SECTOR_BYTES} of the disk, ${size} bytes)`
}

function placeIn(volume: Uint8Array, place: FatExtent): string | undefined {
  try {
    return placeInFat(parseFat(volume, { brokenDirectories: 'list' }), place)
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function placeInFat(fat: FatVolume, place: FatExtent): string | undefined {
  const table = fat.tables.findIndex((each) => overlap(each, place))
  if (table >= 0) return `file allocation table ${table + 1}`
  if (fat.extents('').some((each) => overlap(each, place))) return 'root directory'
  if (place.offset < fat.dataAt) return 'boot sectors'
  for (const { path, kind } of fat.entries) {
    const found = sectorOf(safeExtents(fat, path), place)
    if (found !== undefined) return kind === 'directory' ? `directory ${path}` : `sector ${found} of ${path}`
  }
  return undefined
}

function safeExtents(fat: FatVolume, path: string): readonly FatExtent[] {
  try {
    return fat.extents(path)
  } catch (error) {
    if (error instanceof FormatError) return []
    throw error
  }
}

/** The first sector of a file that a place holds. */
function sectorOf(extents: readonly FatExtent[], place: FatExtent): number | undefined {
  let before = 0
  for (const extent of extents) {
    if (overlap(extent, place)) return (before + Math.max(0, place.offset - extent.offset)) / SECTOR_BYTES
    before += extent.size
  }
  return undefined
}

function overlap(a: FatExtent, b: FatExtent): boolean {
  return a.offset < b.offset + b.size && b.offset < a.offset + a.size
}

/** `state of variable BootNext (0x3f -> 0x3c)`. `flash` before the write, whose data begins at `offset`. */
export function describeFlashWrite(flash: Uint8Array, offset: number, data: Uint8Array): string {
  const changed = data.findIndex((byte, index) => byte !== flash[offset + index])
  if (changed < 0) return 'the variable store, as it was'
  const at = offset + changed
  const hex = (byte: number | undefined) => `0x${(byte ?? 0).toString(16).padStart(2, '0')}`
  const after = Buffer.from(flash)
  after.set(data, offset)
  return `${flashPlace(after, at)} (flash offset 0x${at.toString(16)}: ${hex(flash[at])} becomes ${hex(data[changed])})`
}
