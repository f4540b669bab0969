/** A PE image made byte by byte from the specification, small enough to be truncated at every offset. */

export interface SyntheticSection {
  readonly name: string
  readonly content: Uint8Array
  /** Default: as many bytes as there are. */
  readonly virtualSize?: number
}

export const PE_LAYOUT = {
  peAt: 0x40,
  optionalAt: 0x58,
  checkSumAt: 0x58 + 64,
  securityEntryAt: 0x58 + 112 + 4 * 8,
  sectionsAt: 0x58 + 240,
} as const
const FILE_ALIGNMENT = 16
const SECTION_BYTES = 40

export interface SyntheticPe {
  readonly sections: readonly SyntheticSection[]
  /** Contents of the certificate table's entries, as PKCS#7. */
  readonly signatures?: readonly Uint8Array[]
  /** Bytes behind the last section that belong to none. */
  readonly tail?: Uint8Array
}

/** PE32+ for x86-64 with 16 data directories. */
export function syntheticPe({ sections, signatures = [], tail = new Uint8Array() }: SyntheticPe): Buffer {
  const { peAt, optionalAt, sectionsAt, securityEntryAt } = PE_LAYOUT
  const headers = Buffer.alloc(align(sectionsAt + sections.length * SECTION_BYTES))
  headers.write('MZ')
  headers.writeUInt32LE(peAt, 0x3c)
  headers.write('PE\0\0', peAt)
  headers.writeUInt16LE(0x8664, peAt + 4)
  headers.writeUInt16LE(sections.length, peAt + 6)
  headers.writeUInt16LE(240, peAt + 20)
  headers.writeUInt16LE(0x20b, optionalAt)
  headers.writeBigUInt64LE(0x1_4000_0000n, optionalAt + 24)
  headers.writeUInt32LE(0x10_0000, optionalAt + 56)
  headers.writeUInt32LE(headers.length, optionalAt + 60)
  headers.writeUInt32LE(0xabcdef01, optionalAt + 64)
  headers.writeUInt32LE(16, optionalAt + 108)
  let offset = headers.length
  const contents = sections.map(({ name, content, virtualSize = content.length }, index) => {
    const at = sectionsAt + index * SECTION_BYTES
    const padded = Buffer.concat([content, Buffer.alloc(align(content.length) - content.length)])
    headers.write(name, at, 'latin1')
    headers.writeUInt32LE(virtualSize, at + 8)
    headers.writeUInt32LE(padded.length, at + 16)
    headers.writeUInt32LE(offset, at + 20)
    offset += padded.length
    return padded
  })
  const table = Buffer.concat(signatures.map(certificateEntry))
  if (table.length > 0) {
    headers.writeUInt32LE(offset + tail.length, securityEntryAt)
    headers.writeUInt32LE(table.length, securityEntryAt + 4)
  }
  return Buffer.concat([headers, ...contents, tail, table])
}

/** WIN_CERTIFICATE of revision 2 with a PKCS#7, filled up to 8 bytes. */
function certificateEntry(content: Uint8Array): Buffer {
  const entry = Buffer.alloc(Math.ceil((8 + content.length) / 8) * 8)
  entry.writeUInt32LE(8 + content.length)
  entry.writeUInt16LE(0x0200, 4)
  entry.writeUInt16LE(0x0002, 6)
  entry.set(content, 8)
  return entry
}

function align(value: number): number {
  return Math.ceil(value / FILE_ALIGNMENT) * FILE_ALIGNMENT
}
