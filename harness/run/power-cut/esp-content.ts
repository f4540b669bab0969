/**
 * What an ESP holds as a boot reads it: names and sizes of all files, and the contents of those that something boots. Two
 * volumes that differ in free clusters only, or in the second copy of the allocation table, are equal.
 */
import { createHash } from 'node:crypto'
import { FormatError } from '../../base/errors.ts'
import { ByteView } from '../../formats/byte-view.ts'
import { type FatEntry, type FatExtent, type FatVolume, parseFat } from '../../formats/fat.ts'
import { clusterAt, parseFatGeometry } from '../../formats/fat-geometry.ts'

/** Programs, and what systemd-boot reads beside them. */
const READ_BY_A_BOOT = /\.(efi|cred|raw)$|^loader\//i
/** Of a volume whose boot sector says nothing: more than an ESP's tables take. */
const UNKNOWN_AREA_BYTES = 1 << 20
export const UNREADABLE = 'unreadable'

export interface EspView {
  /** Equal for equal content. */
  readonly key: string
  /**
   * By path: SHA-256 of what a boot reads, the size of another file, `unreadable` for a chain that is not in order,
   * of a file or of a directory, whose files are then not there.
   */
  readonly files: ReadonlyMap<string, string>
  /** Why the volume as a whole cannot be read. */
  readonly problem?: string
}

export class EspContent {
  readonly #volume: Uint8Array
  #view: EspView
  /** What a write has to touch to change the view. */
  #read: readonly FatExtent[] = []
  #digests = new Map<string, { readonly digest: string; readonly extents: readonly FatExtent[] }>()

  /** `volume` is looked at again after every change that it is told of. */
  constructor(volume: Uint8Array) {
    this.#volume = volume
    this.#view = this.#look()
  }

  get view(): EspView {
    return this.#view
  }

  /** The bytes there have been written. */
  changed(...places: readonly FatExtent[]): void {
    for (const [id, { extents }] of this.#digests)
      if (places.some((place) => touches(extents, place))) this.#digests.delete(id)
    const isRead = this.#view.problem !== undefined || places.some((place) => touches(this.#read, place))
    if (isRead) this.#view = this.#look()
  }

  #look(): EspView {
    try {
      return this.#describe(parseFat(this.#volume, { brokenDirectories: 'list' }))
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      return { key: keyOf(systemAreaOf(this.#volume)), files: new Map(), problem: error.message }
    }
  }

  #describe(fat: FatVolume): EspView {
    const read: FatExtent[] = [{ offset: 0, size: fat.dataAt }, ...fat.extents('')]
    const files = new Map<string, string>()
    for (const entry of fat.entries) {
      if (entry.kind === 'directory' && entry.problem === undefined) read.push(...fat.extents(entry.path))
      files.set(entry.path, this.#contentOf(fat, entry, read))
    }
    this.#read = read
    return { key: keyOf([...files].map((file) => file.join('\0')).sort()), files }
  }

  #contentOf(fat: FatVolume, entry: FatEntry, read: FatExtent[]): string {
    if (entry.kind === 'directory') return entry.problem === undefined ? 'directory' : UNREADABLE
    if (!READ_BY_A_BOOT.test(entry.path)) return `${entry.size} bytes`
    try {
      const extents = fat.extents(entry.path)
      read.push(...extents)
      const id = JSON.stringify([entry.path, entry.size, extents])
      const digest = this.#digests.get(id)?.digest ?? keyOf([fat.read(entry.path)])
      this.#digests.set(id, { digest, extents })
      return digest
    } catch (error) {
      if (error instanceof FormatError) return UNREADABLE
      throw error
    }
  }
}

/** What a repair of a volume that cannot be read would begin with: boot sector, tables and root directory. */
function systemAreaOf(volume: Uint8Array): readonly Uint8Array[] {
  try {
    const geometry = parseFatGeometry(new ByteView(volume, 'FAT volume'))
    const rootAt = clusterAt(geometry, geometry.rootCluster)
    const root = geometry.type === 'FAT32' ? volume.subarray(rootAt, rootAt + geometry.clusterBytes) : []
    return [volume.subarray(0, geometry.dataAt), Uint8Array.from(root)]
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return [volume.subarray(0, UNKNOWN_AREA_BYTES)]
  }
}

function touches(extents: readonly FatExtent[], place: FatExtent): boolean {
  return extents.some(
    ({ offset, size }) => offset < place.offset + place.size && place.offset < offset + size,
  )
}

function keyOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\n')
  return hash.digest('hex')
}
