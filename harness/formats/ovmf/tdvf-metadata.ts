/**
 * TDVF metadata: what a VMM adds to a TD before its start, and what of it is measured. Intel TDX Virtual Firmware
 * Design Guide (344991), chapter 11.2; sections are `u32 data offset, u32 raw data size, u64 gpa, u64 memory size,
 * u32 type, u32 attributes`.
 */
import type { ByteView } from '../byte-view.ts'
import { expectDisjoint } from './overlap.ts'
import { FOUR_GIB, hex, type MetadataTable, PAGE_BYTES } from './pointed.ts'

/** TDVF descriptor: Intel TDX Virtual Firmware Design Guide, 11. A section has 32 bytes. */
export const TDVF_METADATA = { name: 'TDVF metadata', signature: 'TDVF', sectionBytes: 32 } as const

/** TDVF section types by their number: Intel TDX Virtual Firmware Design Guide, 11. */
export const TDVF_SECTION_TYPES = { 0: 'bfv', 1: 'cfv', 2: 'td-hob', 3: 'temp-mem' } as const

/** A section type in words. */
export type TdvfSectionType = (typeof TDVF_SECTION_TYPES)[keyof typeof TDVF_SECTION_TYPES]

/** Attributes: the contents go into MRTD; the page is added by the guest itself, after the start. */
const MR_EXTEND = 1 << 0
const PAGE_AUG = 1 << 1

/** TDVF_SECTION: Intel TDX Virtual Firmware Design Guide, 11. All in bytes. */
export interface TdvfSection {
  /** Place of its bytes in the file; a size of 0 for memory that starts as zeros. */
  readonly dataOffset: number
  readonly dataSize: number
  readonly gpa: number
  readonly size: number
  readonly type: TdvfSectionType
  /** Whether the contents are measured (MR.EXTEND). */
  readonly extended: boolean
  /** Whether the page is left to the guest (PAGE.AUG): then nothing of it is measured. */
  readonly augmented: boolean
}

/** As in sev-metadata.ts: OVMF has 4.3 MB. */
const MAX_TOTAL_BYTES = 64 * 1024 * 1024

/**
 * The sections in the file's order, which is the order of measuring. Throws FormatError for what QEMU refuses, too
 * (unaligned, unknown types, contents where there must be none or the reverse), and for sections that are empty,
 * overlap, reach past 4 GiB or past the end of the file: a CODE-only file lacks its variable store.
 */
export function tdvfSections(view: ByteView, table: MetadataTable): readonly TdvfSection[] {
  const sections = table.sectionOffsets.map((offset, index) => ({
    ...parseSection(view, offset, `TDVF section ${index}`),
    name: `TDVF section ${index}`,
    offset,
  }))
  const types = sections.map(({ type }) => type)
  for (const [type, atMost] of [
    ['bfv', Number.POSITIVE_INFINITY],
    ['td-hob', 1],
  ] as const) {
    const count = types.filter((each) => each === type).length
    if (count >= 1 && count <= atMost) continue
    throw view.error(`have ${count} of type ${type}, must have ${atMost === 1 ? 'one' : 'one at least'}`, {
      code: 'bad-value',
      field: 'TDVF sections',
      offset: table.offset,
    })
  }
  expectDisjoint(view, sections)
  const total = sections.reduce((sum, { size }) => sum + size, 0)
  if (total > MAX_TOTAL_BYTES)
    throw view.error(`have ${hex(total)} bytes together, at most ${hex(MAX_TOTAL_BYTES)} are supported`, {
      code: 'too-large',
      field: 'TDVF sections',
      offset: table.offset,
    })
  return sections.map(({ name: _, offset: __, ...section }) => section)
}

function parseSection(view: ByteView, at: number, name: string): TdvfSection {
  const bad = (field: string, offset: number, problem: string) =>
    view.error(problem, { code: 'bad-value', field: `${name} ${field}`, offset: at + offset })
  const dataOffset = view.u32(at, `${name} DataOffset`)
  const dataSize = view.u32(at + 4, `${name} RawDataSize`)
  const gpa = view.u64(at + 8, `${name} MemoryAddress`)
  const size = view.u64(at + 16, `${name} MemoryDataSize`)
  const type = view.u32(at + 24, `${name} Type`)
  const attributes = view.u32(at + 28, `${name} Attributes`)
  const known = (TDVF_SECTION_TYPES as Readonly<Record<number, TdvfSectionType>>)[type]
  if (known === undefined) throw bad('Type', 24, `${type} is unknown`)
  const hasContents = known === 'bfv' || known === 'cfv'
  if (gpa % PAGE_BYTES !== 0) throw bad('MemoryAddress', 8, `${hex(gpa)} is not page-aligned`)
  if (size === 0 || size % PAGE_BYTES !== 0)
    throw bad('MemoryDataSize', 16, `is ${hex(size)}, must be whole pages, at least one`)
  if (gpa + size > FOUR_GIB) throw bad('MemoryDataSize', 16, `${hex(size)} reaches past 4 GiB`)
  if (hasContents ? dataSize === 0 : dataSize !== 0)
    throw bad(
      'RawDataSize',
      4,
      `is ${hex(dataSize)}, must ${hasContents ? 'not ' : ''}be 0 for type ${known}`,
    )
  if (dataSize > size)
    throw bad('RawDataSize', 4, `is ${hex(dataSize)}, at most MemoryDataSize ${hex(size)} fits`)
  expectDataInFile(view, at, name)
  if (attributes & ~(MR_EXTEND | PAGE_AUG)) throw bad('Attributes', 28, `${hex(attributes)} has unknown bits`)
  const extended = (attributes & MR_EXTEND) !== 0
  const augmented = (attributes & PAGE_AUG) !== 0
  if (augmented && (extended || hasContents))
    throw bad('Attributes', 28, 'has PAGE_AUG for a section with contents or with MR_EXTEND')
  return { dataOffset, dataSize, gpa, size, type: known, extended, augmented }
}

/**
 * Throws FormatError `truncated` where sections have their bytes outside of the file. That tells a file that was cut
 * off at its start, whatever it is to be launched for. Intel TDX Virtual Firmware Design Guide, 11.
 */
export function expectWholeFile(view: ByteView, table: MetadataTable): void {
  for (const [index, offset] of table.sectionOffsets.entries())
    expectDataInFile(view, offset, `TDVF section ${index}`)
}

function expectDataInFile(view: ByteView, at: number, name: string): void {
  const field = `${name} DataOffset`
  const dataOffset = view.u32(at, field)
  const dataSize = view.u32(at + 4, `${name} RawDataSize`)
  if (dataSize === 0 || dataOffset + dataSize <= view.length) return
  throw view.error(
    `${hex(dataOffset)}+${hex(dataSize)} lies outside the file of ${hex(view.length)} bytes: ` +
      'it is truncated, or has the code but not the variable store',
    { code: 'truncated', field, offset: at },
  )
}
