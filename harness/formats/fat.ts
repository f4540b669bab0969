/**
 * FAT12, FAT16 and FAT32 volumes, for reading: an EFI system partition without mounting it. Microsoft FAT specification
 * (fatgen103), "FAT Directory Structure" and "FAT Long Directory Entries".
 */
import { FormatError } from '../base/errors.ts'
import { ByteView } from './byte-view.ts'
import {
  clusterAt,
  clusterChain,
  DIRECTORY_ENTRY_BYTES,
  type FatGeometry,
  fatEntry,
  parseFatGeometry,
  WHAT,
} from './fat-geometry.ts'
import { FatNames } from './fat-names.ts'

const ATTRIBUTE = { volumeId: 0x08, directory: 0x10, longName: 0x0f } as const
const DELETED = 0xe5
/** Of a directory, by the specification. */
const MOST_DIRECTORY_BYTES = 65536 * DIRECTORY_ENTRY_BYTES
/** Bound what a hostile volume makes us list: an ESP has some dozens of entries, a few levels deep. */
const MOST_ENTRIES = 65536
const MOST_LEVELS = 32

/** A file or directory: Microsoft FAT specification, "FAT Directory Structure". */
export interface FatEntry {
  /** From the root, with `/`: `EFI/Linux/a.efi`. */
  readonly path: string
  readonly kind: 'file' | 'directory'
  /** In bytes; 0 for directories. */
  readonly size: number
  /** Offset of its directory entry in the volume. */
  readonly entryAt: number
  readonly firstCluster: number
  /** Why what a directory holds is not listed: its clusters are not in order. Only where `parseFat` is to list such. */
  readonly problem?: string
}

/** What is done about a volume that a power cut left behind. */
export interface FatOptions {
  /** A directory below the root whose clusters are not in order: refuses the volume (default), or is listed as empty. */
  readonly brokenDirectories?: 'refuse' | 'list'
}

/**
 * Bytes that lie together on the volume: one or more clusters (fatgen103, "FAT Data Structure"). In bytes from the
 * start of the volume.
 */
export interface FatExtent {
  /** In bytes, in the volume. */
  readonly offset: number
  readonly size: number
}

/** A FAT12, FAT16 or FAT32 volume: Microsoft FAT specification. */
export interface FatVolume {
  readonly type: FatGeometry['type']
  /** Parents before their children. */
  readonly entries: readonly FatEntry[]
  readonly freeBytes: number
  /** Where its clusters begin, in bytes; boot sector, tables and a fixed root lie before. */
  readonly dataAt: number
  /** Offset and size of each of the copies of the file allocation table. */
  readonly tables: readonly FatExtent[]
  /**
   * Where an entry's clusters lie in the volume, in order, neighbours joined; whole clusters. An empty path: the root
   * directory. Throws FormatError for a chain that is not in order.
   */
  readonly extents: (path: string) => readonly FatExtent[]
  /** Content of a file; names are compared as FAT does, without case. Throws FormatError, or where it is not there. */
  readonly read: (path: string) => Buffer
  readonly find: (path: string) => FatEntry | undefined
}

/**
 * Lists a whole volume. Throws FormatError with the offset in the volume. Microsoft FAT specification (fatgen103);
 * offsets in bytes.
 */
export function parseFat(volume: Uint8Array, { brokenDirectories = 'refuse' }: FatOptions = {}): FatVolume {
  const view = new ByteView(volume, WHAT)
  const geometry = parseFatGeometry(view)
  const entries = listAll(view, geometry, brokenDirectories)
  const byPath = new Map(entries.map((entry) => [entry.path.toLowerCase(), entry]))
  const find = (path: string) => byPath.get(path.toLowerCase())
  return {
    type: geometry.type,
    entries,
    // Counted when it is asked for: a volume of an ESP's size has hundreds of thousands of clusters.
    get freeBytes() {
      return freeClusters(view, geometry) * geometry.clusterBytes
    },
    dataAt: geometry.dataAt,
    tables: Array.from({ length: geometry.fatCopies }, (_, copy) => ({
      offset: geometry.fatAt + copy * geometry.fatBytes,
      size: geometry.fatBytes,
    })),
    find,
    extents: (path) => extentsOf(view, geometry, path === '' ? undefined : anyEntry(find(path), path)),
    read: (path) => readFile(view, geometry, found(find(path), path)),
  }
}

/** Throws FormatError unless `start`, 512 bytes or more, begins a FAT volume that fits into `size` bytes. */
export function checkFatStart(start: Uint8Array, size: number): void {
  parseFatGeometry(new ByteView(start, WHAT), size)
}

function extentsOf(view: ByteView, geometry: FatGeometry, entry: FatEntry | undefined): readonly FatExtent[] {
  if (entry === undefined) {
    const { pieces, pieceBytes } = rootOf(view, geometry)
    return joinNeighbours(pieces, pieceBytes)
  }
  if (entry.firstCluster === 0) return []
  const { firstCluster: first, path: field } = entry
  const chain = clusterChain(view, geometry, { first, field, most: geometry.clusters })
  return joinNeighbours(
    chain.map((cluster) => clusterAt(geometry, cluster)),
    geometry.clusterBytes,
  )
}

function joinNeighbours(pieces: readonly number[], size: number): readonly FatExtent[] {
  const extents: { offset: number; size: number }[] = []
  for (const offset of pieces) {
    const last = extents.at(-1)
    if (last && last.offset + last.size === offset) last.size += size
    else extents.push({ offset, size })
  }
  return extents
}

function anyEntry(entry: FatEntry | undefined, path: string): FatEntry {
  return entry ?? found(entry, path)
}

function found(entry: FatEntry | undefined, path: string): FatEntry {
  if (entry?.kind === 'file') return entry
  throw new FormatError(
    `cannot read ${path} of the FAT volume: ${entry ? 'it is a directory' : 'there is no such file'}`,
    { code: 'bad-value', field: path, offset: entry?.entryAt ?? 0 },
  )
}

function freeClusters(view: ByteView, geometry: FatGeometry): number {
  let free = 0
  for (let cluster = 2; cluster < geometry.clusters + 2; cluster++)
    if (fatEntry(view, geometry, cluster) === 0) free++
  return free
}

function readFile(view: ByteView, geometry: FatGeometry, entry: FatEntry): Buffer {
  const { size, firstCluster, path } = entry
  if (size === 0) return Buffer.alloc(0)
  const needed = Math.ceil(size / geometry.clusterBytes)
  const chain = clusterChain(view, geometry, { first: firstCluster, field: path, most: needed })
  if (chain.length < needed)
    throw view.error(`has ${chain.length} clusters of ${geometry.clusterBytes} bytes, its size is ${size}`, {
      ...{ code: 'truncated', field: path, offset: entry.entryAt },
    })
  return joinClusters(view, geometry, chain).subarray(0, size)
}

function joinClusters(view: ByteView, geometry: FatGeometry, chain: readonly number[]): Buffer {
  return Buffer.concat(
    chain.map((cluster) => view.slice(clusterAt(geometry, cluster), geometry.clusterBytes, 'cluster')),
  )
}

interface Directory {
  readonly path: string
  readonly level: number
  /** Offset in the volume of each of its pieces, all `pieceBytes` long. */
  readonly pieces: readonly number[]
  readonly pieceBytes: number
}

function listAll(
  view: ByteView,
  geometry: FatGeometry,
  broken: NonNullable<FatOptions['brokenDirectories']>,
): readonly FatEntry[] {
  const entries: FatEntry[] = []
  const waiting: Directory[] = [rootOf(view, geometry)]
  // Two directories that share a cluster would list each other for ever.
  const seen = new Set(waiting[0]?.pieces)
  for (let directory = waiting.shift(); directory; directory = waiting.shift()) {
    for (const entry of listDirectory(view, directory)) {
      if (entries.length >= MOST_ENTRIES)
        throw refusal(view, entry, 'too-large', `is one of more than ${MOST_ENTRIES} entries`)
      const below = subdirectoryOf(view, geometry, { entry, directory, seen }, broken)
      if (below && !('problem' in below)) waiting.push(below)
      entries.push(below && 'problem' in below ? { ...entry, ...below } : entry)
    }
  }
  return entries
}

function rootOf(view: ByteView, geometry: FatGeometry): Directory {
  if (geometry.type !== 'FAT32')
    return { path: '', level: 0, pieces: [geometry.rootAt], pieceBytes: geometry.rootBytes }
  return { path: '', level: 0, ...chainPieces(view, geometry, geometry.rootCluster, 'root directory') }
}

interface Within {
  readonly entry: FatEntry
  readonly directory: Directory
  readonly seen: Set<number>
}

/** Undefined for a file. */
function subdirectoryOf(
  view: ByteView,
  geometry: FatGeometry,
  from: Within,
  broken: FatOptions['brokenDirectories'],
): Directory | { readonly problem: string } | undefined {
  if (from.entry.kind === 'file') return undefined
  try {
    return subdirectory(view, geometry, from)
  } catch (error) {
    if (broken === 'refuse' || !(error instanceof FormatError)) throw error
    return { problem: error.message }
  }
}

function subdirectory(view: ByteView, geometry: FatGeometry, from: Within): Directory {
  const { entry, directory, seen } = from
  const level = directory.level + 1
  if (level > MOST_LEVELS) throw refusal(view, entry, 'too-large', `is more than ${MOST_LEVELS} levels deep`)
  const pieces = chainPieces(view, geometry, entry.firstCluster, entry.path)
  if (pieces.pieces.some((at) => seen.has(at)))
    throw refusal(view, entry, 'bad-value', 'shares its clusters with another directory')
  for (const at of pieces.pieces) seen.add(at)
  return { path: entry.path, level, ...pieces }
}

function refusal(view: ByteView, entry: FatEntry, code: FormatError['code'], problem: string): FormatError {
  return view.error(problem, { code, field: entry.path, offset: entry.entryAt })
}

function chainPieces(
  view: ByteView,
  geometry: FatGeometry,
  first: number,
  field: string,
): Pick<Directory, 'pieces' | 'pieceBytes'> {
  const most = Math.ceil(MOST_DIRECTORY_BYTES / geometry.clusterBytes)
  const chain = clusterChain(view, geometry, { first, field, most })
  return { pieces: chain.map((cluster) => clusterAt(geometry, cluster)), pieceBytes: geometry.clusterBytes }
}

/** Without `.`, `..`, volume label, deleted entries and pieces of long names. */
function* listDirectory(view: ByteView, { path, pieces, pieceBytes }: Directory): Generator<FatEntry> {
  const names = new FatNames()
  for (const piece of pieces) {
    const bytes = view.slice(piece, pieceBytes, path || 'root directory')
    for (let at = 0; at < bytes.length; at += DIRECTORY_ENTRY_BYTES) {
      const raw = bytes.subarray(at, at + DIRECTORY_ENTRY_BYTES)
      const first = raw[0] ?? 0
      if (first === 0) return
      const attributes = raw[11] ?? 0
      if (first === DELETED) names.forget()
      else if ((attributes & 0x3f) === ATTRIBUTE.longName) names.addPiece(raw)
      else if ((attributes & ATTRIBUTE.volumeId) !== 0) names.forget()
      else {
        const name = names.nameOf(raw)
        if (name !== '.' && name !== '..')
          yield entryOf(new ByteView(raw, WHAT), join(path, name), piece + at)
      }
    }
  }
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}

function entryOf(raw: ByteView, path: string, entryAt: number): FatEntry {
  const directory = (raw.u8(11, 'DIR_Attr') & ATTRIBUTE.directory) !== 0
  return {
    path,
    kind: directory ? 'directory' : 'file',
    size: directory ? 0 : raw.u32(28, 'DIR_FileSize'),
    entryAt,
    firstCluster: raw.u16(20, 'DIR_FstClusHI') * 0x10000 + raw.u16(26, 'DIR_FstClusLO'),
  }
}
