/**
 * Geometry of a FAT volume and its file allocation table: Microsoft FAT specification (fatgen103), "Boot Sector and
 * BPB" and "FAT Data Structure". The type follows from the number of clusters alone.
 */
import type { ByteView } from './byte-view.ts'

/** What messages call it. */
export const WHAT = 'FAT volume'
const BOOT_SIGNATURE_AT = 510
const MAX_FAT12_CLUSTERS = 4085
const MAX_FAT16_CLUSTERS = 65525
/** Bytes of a directory entry: Microsoft FAT specification, "FAT Directory Structure". */
export const DIRECTORY_ENTRY_BYTES = 32

/** Where the parts of a volume lie, in bytes: Microsoft FAT specification, "Boot Sector and BPB". */
export interface FatGeometry {
  readonly type: 'FAT12' | 'FAT16' | 'FAT32'
  readonly clusterBytes: number
  /** Data clusters; they are numbered from 2. */
  readonly clusters: number
  /** Bytes from the start of the volume. */
  readonly fatAt: number
  readonly fatBytes: number
  readonly fatCopies: number
  readonly rootAt: number
  /** Bytes of the fixed root directory; 0 for FAT32, whose root is a chain from `rootCluster`. */
  readonly rootBytes: number
  readonly rootCluster: number
  readonly dataAt: number
}

/**
 * Throws FormatError with the offset in the volume for what is no FAT, or one that does not fit into `size` bytes
 * (default: those of the view).
 */
export function parseFatGeometry(view: ByteView, size = view.length): FatGeometry {
  const bad = (field: string, offset: number, problem: string) =>
    view.error(problem, { code: 'bad-value', field, offset })
  if (view.u16(BOOT_SIGNATURE_AT, 'Signature_word') !== 0xaa55)
    throw view.error('is not 0x55 0xaa: this is no FAT volume', {
      ...{ code: 'bad-magic', field: 'Signature_word', offset: BOOT_SIGNATURE_AT },
    })
  const sector = view.u16(11, 'BPB_BytsPerSec')
  if (![512, 1024, 2048, 4096].includes(sector))
    throw bad('BPB_BytsPerSec', 11, `is ${sector}; 512, 1024, 2048 or 4096 is required`)
  const perCluster = view.u8(13, 'BPB_SecPerClus')
  if (perCluster === 0 || (perCluster & (perCluster - 1)) !== 0)
    throw bad('BPB_SecPerClus', 13, `is ${perCluster}, must be a power of two`)
  const reserved = view.u16(14, 'BPB_RsvdSecCnt')
  if (reserved === 0) throw bad('BPB_RsvdSecCnt', 14, 'is 0, must be at least 1')
  const copies = view.u8(16, 'BPB_NumFATs')
  if (copies === 0 || copies > 4) throw bad('BPB_NumFATs', 16, `is ${copies}; 1 to 4 is required`)
  const rootEntries = view.u16(17, 'BPB_RootEntCnt')
  const sectors = view.u16(19, 'BPB_TotSec16') || view.u32(32, 'BPB_TotSec32')
  const fatSectors = view.u16(22, 'BPB_FATSz16') || view.u32(36, 'BPB_FATSz32')
  if (fatSectors === 0) throw bad('BPB_FATSz32', 36, 'is 0, must be at least 1')
  const rootSectors = Math.ceil((rootEntries * DIRECTORY_ENTRY_BYTES) / sector)
  const dataSector = reserved + copies * fatSectors + rootSectors
  if (sectors <= dataSector) throw bad('BPB_TotSec32', 32, `is ${sectors}, data begins at ${dataSector}`)
  if (sectors * sector > size)
    throw view.error(`is ${sectors} sectors of ${sector} bytes, the volume has ${size} bytes`, {
      ...{ code: 'truncated', field: 'BPB_TotSec32', offset: 32 },
    })
  const clusters = Math.floor((sectors - dataSector) / perCluster)
  const type = clusters < MAX_FAT12_CLUSTERS ? 'FAT12' : clusters < MAX_FAT16_CLUSTERS ? 'FAT16' : 'FAT32'
  if ((type === 'FAT32') !== (rootEntries === 0))
    throw bad('BPB_RootEntCnt', 17, `is ${rootEntries}, which does not suit ${clusters} clusters (${type})`)
  const fatBytes = fatSectors * sector
  if (fatBytes < entriesBytes(type, clusters + 2))
    throw bad('BPB_FATSz32', 36, `is ${fatSectors} sectors, too few for ${clusters} clusters`)
  return {
    ...{
      type,
      clusters,
      clusterBytes: perCluster * sector,
      fatAt: reserved * sector,
      fatBytes,
      fatCopies: copies,
    },
    rootAt: (reserved + copies * fatSectors) * sector,
    rootBytes: rootSectors * sector,
    rootCluster: type === 'FAT32' ? view.u32(44, 'BPB_RootClus') : 0,
    dataAt: dataSector * sector,
  }
}

function entriesBytes(type: FatGeometry['type'], count: number): number {
  return type === 'FAT12' ? Math.ceil(count * 1.5) : count * (type === 'FAT16' ? 2 : 4)
}

const END_OF_CHAIN = { FAT12: 0xff8, FAT16: 0xfff8, FAT32: 0x0ffffff8 } as const

function entryAt({ type, fatAt }: FatGeometry, cluster: number): number {
  if (type === 'FAT12') return fatAt + cluster + (cluster >> 1)
  return fatAt + cluster * (type === 'FAT16' ? 2 : 4)
}

/**
 * The entry of `cluster` in the first table: its successor, 0 where it is free. Throws FormatError outside of the
 * table: fatgen103, "FAT Data Structure"; 12, 16 or 28 bits.
 */
export function fatEntry(view: ByteView, geometry: FatGeometry, cluster: number): number {
  const at = entryAt(geometry, cluster)
  // The upper four bits of a FAT32 entry are reserved.
  if (geometry.type === 'FAT32') return view.u32(at, 'FAT entry') & 0x0fffffff
  const pair = view.u16(at, 'FAT entry')
  if (geometry.type === 'FAT16') return pair
  return cluster % 2 === 1 ? pair >> 4 : pair & 0xfff
}

/**
 * The first `most` clusters of a chain, in order. Throws FormatError for one that leads outside, to a free cluster or
 * in a circle. Fatgen103, "FAT Data Structure".
 */
export function clusterChain(
  view: ByteView,
  geometry: FatGeometry,
  { first, field, most }: { readonly first: number; readonly field: string; readonly most: number },
): readonly number[] {
  const chain = new Set<number>()
  let from = 0
  for (let cluster = first; cluster < END_OF_CHAIN[geometry.type] && chain.size < most; ) {
    const exists = cluster >= 2 && cluster < geometry.clusters + 2
    if (!exists || chain.has(cluster)) {
      const limits = `; 2 to ${geometry.clusters + 1} exist, and each belongs to a chain once`
      throw view.error(`leads to cluster ${cluster}${limits}`, {
        ...{ code: 'bad-value', field, offset: entryAt(geometry, from) },
      })
    }
    chain.add(cluster)
    from = cluster
    cluster = fatEntry(view, geometry, cluster)
  }
  return [...chain]
}

/**
 * Offset of a data cluster in the volume, in bytes; clusters are numbered from 2 (Microsoft FAT specification, "FAT
 * Data Structure"). Not checked against the volume's end. Never throws.
 */
export function clusterAt({ dataAt, clusterBytes }: FatGeometry, cluster: number): number {
  return dataAt + (cluster - 2) * clusterBytes
}
