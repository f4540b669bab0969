import { ByteWriter } from '../../base/bytes.ts'
import { guidBytes } from '../guid.ts'

/**
 * A small ROM with every table that VMMs read, laid out as EDK II's: variable store, code, tables, reset vector. It
 * cannot boot. Parts are replaced to make firmware that is wrong in one way.
 */

export interface SyntheticSevSection {
  readonly gpa: number
  readonly size: number
  readonly type: number
}

export interface SyntheticTdvfSection {
  readonly dataOffset: number
  readonly dataSize: number
  readonly gpa: number
  readonly size: number
  readonly type: number
  readonly attributes: number
}

export interface SyntheticOvmfOptions {
  /** Bytes of the file, a multiple of 0x1000 and at least 0x4000; default 1 MiB. */
  readonly size?: number
  /** Of them the variable store's; default 0x2000. 0: the code alone. */
  readonly variablesSize?: number
  /** Default: the layout of OVMF 2026.08. `none` leaves table and entry out. */
  readonly sev?: readonly SyntheticSevSection[] | 'none'
  readonly tdvf?: readonly SyntheticTdvfSection[] | 'none'
  readonly resetAddress?: number
  readonly hashesTable?: { readonly gpa: number; readonly size: number }
  /** Fills the code: `erased` as most of a flash image is, or different in every byte. */
  readonly content?: 'erased' | 'varied'
}

export const SYNTHETIC_SEV: readonly SyntheticSevSection[] = [
  { gpa: 0x800000, size: 0x9000, type: 1 },
  { gpa: 0x80a000, size: 0x3000, type: 1 },
  { gpa: 0x80d000, size: 0x1000, type: 2 },
  { gpa: 0x80e000, size: 0x1000, type: 3 },
  { gpa: 0x80f000, size: 0x1000, type: 4 },
  { gpa: 0x811000, size: 0x1f000, type: 1 },
  { gpa: 0x810000, size: 0x1000, type: 0x10 },
]

/** Sections of a ROM of `size` bytes with `variables` bytes of variable store. */
export function syntheticTdvf(size: number, variables: number): readonly SyntheticTdvfSection[] {
  const code = size - variables
  const base = 2 ** 32 - size
  const memory = { dataOffset: 0, dataSize: 0, attributes: 0 }
  return [
    { dataOffset: variables, dataSize: code, gpa: base + variables, size: code, type: 0, attributes: 1 },
    { dataOffset: 0, dataSize: variables, gpa: base, size: variables, type: 1, attributes: 0 },
    { ...memory, gpa: 0x810000, size: 0x10000, type: 3 },
    { ...memory, gpa: 0x80b000, size: 0x2000, type: 3 },
    { ...memory, gpa: 0x809000, size: 0x2000, type: 2 },
    { ...memory, gpa: 0x800000, size: 0x6000, type: 3 },
  ]
}

const VARIABLE_STORE = 'fff12b8d-7696-4c8b-a985-2747075b4f50'
const FFS2 = '8c8ce578-8a3d-4f1c-9935-896185c32dd3'
const RESET_VECTOR_BYTES = 32

export function syntheticOvmf(options: SyntheticOvmfOptions = {}): Buffer {
  const { size = 0x100000, variablesSize = 0x2000, content = 'erased' } = options
  const { sev = SYNTHETIC_SEV, tdvf = syntheticTdvf(size, variablesSize) } = options
  const { resetAddress = 0x80b004, hashesTable = { gpa: 0x810c00, size: 0x400 } } = options
  const file = Buffer.alloc(size, 0xff)
  if (content === 'varied') fillVaried(file)
  if (variablesSize > 0) file.set(volumeHeader(VARIABLE_STORE, variablesSize), 0)
  file.set(volumeHeader(FFS2, size - variablesSize), variablesSize)
  // The tables lie in the last page, before the GUIDed table.
  const sevAt = size - 0x800
  const tdvfAt = size - 0x600
  if (sev !== 'none') file.set(sevTable(sev), sevAt)
  if (tdvf !== 'none') file.set(tdvfTable(tdvf), tdvfAt)
  const table = guidedTable([
    ['00f771de-1a7e-4fcb-890e-68c77e2fb44e', u32s(resetAddress)],
    ['4c2eb361-7d9b-4cc3-8081-127c90d3d294', u32s(0x810000, 0xc00)],
    ['7255371f-3a3b-4b04-927b-1da6efa8d454', u32s(hashesTable.gpa, hashesTable.size)],
    ...(sev === 'none' ? [] : [['dc886566-984a-4798-a75e-5585a7bf67cc', u32s(size - sevAt)] as const]),
    ...(tdvf === 'none' ? [] : [['e47a6535-984a-4798-865e-4685a7bf8ec2', u32s(size - tdvfAt)] as const]),
  ])
  file.set(table, size - RESET_VECTOR_BYTES - table.length)
  return file
}

/** The GUIDed table with `entries` in reading order, its footer included. */
export function guidedTable(entries: readonly (readonly [guid: string, data: Uint8Array])[]): Buffer {
  const parts = entries.map(([guid, data]) => entry(data, data.length + 18, guid)).reverse()
  const total = parts.reduce((sum, part) => sum + part.length, 0) + 18
  const footer = entry(new Uint8Array(), total, '96b582de-1fb2-45f7-baea-a366c55a082d')
  return Buffer.concat([...parts, footer])
}

function entry(data: Uint8Array, length: number, guid: string): Buffer {
  return new ByteWriter({ what: 'table entry' })
    .bytes(data, 'data')
    .u16le(length, 'length')
    .bytes(guidBytes(guid), 'GUID')
    .finish()
}

function u32s(...values: readonly number[]): Buffer {
  const writer = new ByteWriter({ what: 'table entry' })
  for (const value of values) writer.u32le(value, 'data')
  return writer.finish()
}

function sevTable(sections: readonly SyntheticSevSection[]): Buffer {
  return Buffer.concat([
    metadataHeader('ASEV', 12, sections.length),
    ...sections.map(({ gpa, size, type }) => u32s(gpa, size, type)),
  ])
}

function tdvfTable(sections: readonly SyntheticTdvfSection[]): Buffer {
  return Buffer.concat([
    metadataHeader('TDVF', 32, sections.length),
    ...sections.map(({ dataOffset, dataSize, gpa, size, type, attributes }) =>
      new ByteWriter({ what: 'TDVF section' })
        .u32le(dataOffset, 'DataOffset')
        .u32le(dataSize, 'RawDataSize')
        .u64le(BigInt(gpa), 'MemoryAddress')
        .u64le(BigInt(size), 'MemoryDataSize')
        .u32le(type, 'Type')
        .u32le(attributes, 'Attributes')
        .finish(),
    ),
  ])
}

function metadataHeader(signature: string, sectionBytes: number, count: number): Buffer {
  return Buffer.concat([Buffer.from(signature), u32s(16 + count * sectionBytes, 1, count)])
}

function volumeHeader(fileSystem: string, length: number): Buffer {
  const header = new ByteWriter({ what: 'firmware volume' })
    .zeros(16)
    .bytes(guidBytes(fileSystem), 'FileSystemGuid')
    .u64le(BigInt(length), 'FvLength')
    .bytes(Buffer.from('_FVH'), 'Signature')
    .u32le(0x4feff, 'Attributes')
    .u16le(0x48, 'HeaderLength')
    .u16le(0, 'Checksum')
    .zeros(0x48 - 52)
    .finish()
  let sum = 0
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16LE(at)
  header.writeUInt16LE(-sum & 0xffff, 50)
  return header
}

/** No two pages are equal, and the same every time. */
function fillVaried(file: Buffer): void {
  let state = 1
  for (let at = 0; at + 4 <= file.length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    file.writeUInt32LE(state, at)
  }
}
