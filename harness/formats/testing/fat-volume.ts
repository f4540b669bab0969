/** FAT volumes made sector by sector from the specification. */

const SECTOR = 512

export interface FatShape {
  readonly type: 'FAT12' | 'FAT16' | 'FAT32'
  /** Data clusters of one sector. */
  readonly clusters: number
}

export interface RawEntry {
  /** 11 bytes: `A       EFI`. */
  readonly name: string
  readonly attributes?: number
  readonly first?: number
  readonly size?: number
  readonly longName?: string
  /** DIR_NTRes: 8 shows the name in lower case, 16 the extension. */
  readonly caseFlags?: number
  /** Checksum in the pieces of the long name, where it is to be wrong. */
  readonly checksum?: number
}

/** A volume with one sector a cluster, one table, and a root of 16 entries (FAT32: cluster 2). */
export class FatImage {
  readonly shape: FatShape
  readonly bytes: Buffer
  readonly fatAt: number
  readonly rootAt: number
  readonly dataAt: number

  constructor(shape: FatShape) {
    this.shape = shape
    const { type, clusters } = shape
    const wide = type === 'FAT32'
    const reserved = wide ? 32 : 1
    const entryBits = { FAT12: 12, FAT16: 16, FAT32: 32 }[type]
    const fatSectors = Math.ceil(((clusters + 2) * entryBits) / 8 / SECTOR)
    this.fatAt = reserved * SECTOR
    this.rootAt = this.fatAt + fatSectors * SECTOR
    this.dataAt = this.rootAt + (wide ? 0 : SECTOR)
    this.bytes = Buffer.alloc(this.dataAt + clusters * SECTOR)
    if (wide) this.rootAt = this.dataAt
    this.bytes.writeUInt16LE(SECTOR, 11)
    this.bytes.writeUInt8(1, 13)
    this.bytes.writeUInt16LE(reserved, 14)
    this.bytes.writeUInt8(1, 16)
    this.bytes.writeUInt16LE(wide ? 0 : 16, 17)
    this.bytes.writeUInt32LE(this.bytes.length / SECTOR, 32)
    if (wide) this.bytes.writeUInt32LE(fatSectors, 36)
    else this.bytes.writeUInt16LE(fatSectors, 22)
    if (wide) this.bytes.writeUInt32LE(2, 44)
    this.bytes.writeUInt16LE(0xaa55, 510)
    if (wide) this.chain([2])
  }

  clusterAt(cluster: number): number {
    return this.dataAt + (cluster - 2) * SECTOR
  }

  /** Writes the entries of a chain; the last one ends it unless `then` names its successor. */
  chain(clusters: readonly number[], then = 0x0fffffff): void {
    for (const [index, cluster] of clusters.entries()) this.setEntry(cluster, clusters[index + 1] ?? then)
  }

  setEntry(cluster: number, value: number): void {
    const { bytes, fatAt } = this
    if (this.shape.type === 'FAT32') bytes.writeUInt32LE(value, fatAt + cluster * 4)
    else if (this.shape.type === 'FAT16') bytes.writeUInt16LE(value & 0xffff, fatAt + cluster * 2)
    else {
      const at = fatAt + cluster + (cluster >> 1)
      const pair = bytes.readUInt16LE(at)
      const odd = cluster % 2 === 1
      bytes.writeUInt16LE(odd ? (pair & 0xf) | ((value & 0xfff) << 4) : (pair & 0xf000) | (value & 0xfff), at)
    }
  }

  /** Entries one behind the other from `at`, an offset in the volume. */
  directory(at: number, entries: readonly RawEntry[]): void {
    Buffer.concat(entries.flatMap(rawEntry)).copy(this.bytes, at)
  }
}

function rawEntry(entry: RawEntry): Buffer[] {
  const raw = Buffer.alloc(32)
  raw.write(entry.name.padEnd(11), 'latin1')
  raw.writeUInt8(entry.attributes ?? 0, 11)
  raw.writeUInt8(entry.caseFlags ?? 0, 12)
  raw.writeUInt16LE((entry.first ?? 0) >>> 16, 20)
  raw.writeUInt16LE((entry.first ?? 0) & 0xffff, 26)
  raw.writeUInt32LE(entry.size ?? 0, 28)
  const sum =
    entry.checksum ?? raw.subarray(0, 11).reduce((s, byte) => (((s & 1) << 7) + (s >> 1) + byte) & 0xff, 0)
  return [...longNamePieces(entry.longName, sum), raw]
}

function longNamePieces(name: string | undefined, sum: number): Buffer[] {
  if (name === undefined) return []
  const count = Math.ceil(name.length / 13)
  const text = Buffer.alloc(count * 26, 0xff)
  text.write(name, 'utf16le')
  if (name.length < count * 13) text.writeUInt16LE(0, name.length * 2)
  const pieces = Array.from({ length: count }, (_, index) => {
    const piece = Buffer.alloc(32)
    piece.writeUInt8(index + 1 + (index + 1 === count ? 0x40 : 0), 0)
    piece.writeUInt8(0x0f, 11)
    piece.writeUInt8(sum, 13)
    text.copy(piece, 1, index * 26, index * 26 + 10)
    text.copy(piece, 14, index * 26 + 10, index * 26 + 22)
    text.copy(piece, 28, index * 26 + 22, index * 26 + 26)
    return piece
  })
  return pieces.reverse()
}
