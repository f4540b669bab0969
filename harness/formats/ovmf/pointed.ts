/** What entries of the table say in 4 or 8 bytes: addresses, areas, and offsets of further tables. */
import type { ByteView } from '../byte-view.ts'
import type { TableEntry } from './table.ts'

/** Bytes of a page that is measured: 4 KiB. AMD 56860, 8.17.2; Intel TDX Module specification (348549), 12.1. */
export const PAGE_BYTES = 0x1000
/** Guest-physical address at which a firmware file ends, in bytes: edk2, OvmfPkg/ResetVector. */
export const FOUR_GIB = 2 ** 32

/** More than any firmware has (8); bounds what a hostile header makes us read. */
const MAX_SECTIONS = 64

/** Guest-physical address and size, both in bytes. */
export interface Area {
  readonly gpa: number
  readonly size: number
}

/** As messages spell a number: "0x1000". Never throws. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`
}

/**
 * The one u32, little-endian, that is all of the entry's data. Throws FormatError for data of another length than 4
 * bytes. Edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm.
 */
export function entryU32(view: ByteView, { data, offset }: TableEntry, field: string): number {
  expectBytes(view, { data, offset }, 4, field)
  return view.u32(offset, field)
}

/**
 * A guest area as `u32 base, u32 size`; undefined where both are zero: how a build says that it lacks it. Throws
 * FormatError where the area is empty or reaches past 4 GiB. 8 bytes, little-endian. Edk2,
 * OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm.
 */
export function entryArea(view: ByteView, entry: TableEntry, field: string): Area | undefined {
  expectBytes(view, entry, 8, field)
  const { offset } = entry
  const area = { gpa: view.u32(offset, field), size: view.u32(offset + 4, field) }
  if (area.gpa === 0 && area.size === 0) return undefined
  if (area.size === 0 || area.gpa === 0 || area.gpa + area.size > FOUR_GIB)
    throw view.error(
      `lies at ${hex(area.gpa)} with a size of ${hex(area.size)}; it must be below 4 GiB and not empty`,
      {
        code: 'bad-value',
        field,
        offset,
      },
    )
  return area
}

function expectBytes(view: ByteView, { data, offset }: TableEntry, length: number, field: string): void {
  if (data.length === length) return
  throw view.error(`has ${data.length} bytes, must have ${length}`, { code: 'bad-value', field, offset })
}

/** How one of the two kinds of metadata differs from the other: signature of 4 characters, bytes of a section. */
export interface MetadataFormat {
  /** As in messages: "SEV metadata". */
  readonly name: string
  readonly signature: string
  readonly sectionBytes: number
}

/**
 * A metadata table that was found; offsets in the file, in bytes. Edk2, OvmfSevMetadata.asm; Intel TDX Virtual Firmware
 * Design Guide, 11.
 */
export interface MetadataTable {
  /** Offset of the header in the file. */
  readonly offset: number
  readonly sectionOffsets: readonly number[]
}

const HEADER_BYTES = 16
const VERSION = 1

/**
 * SEV's and TDVF's tables share a header: signature, u32 length of header and sections, u32 version, u32 count. The
 * entry in the GUIDed table holds its distance from the end of the file. Throws FormatError.
 */
export function metadataTable(view: ByteView, entry: TableEntry, format: MetadataFormat): MetadataTable {
  const { name, signature, sectionBytes } = format
  const distance = entryU32(view, entry, `${name} offset`)
  const offset = view.length - distance
  if (offset < 0 || distance < HEADER_BYTES)
    throw view.error(
      `is ${hex(distance)} from the end of a file of ${hex(view.length)} bytes: outside of it`,
      {
        code: 'bad-value',
        field: `${name} offset`,
        offset: entry.offset,
      },
    )
  if (view.text(offset, 4, `${name} signature`) !== signature)
    throw view.error(`is not "${signature}"`, { code: 'bad-magic', field: `${name} signature`, offset })
  expectU32(view, { offset: offset + 8, field: `${name} version`, value: VERSION })
  const count = view.u32(offset + 12, `${name} section count`)
  if (count === 0 || count > MAX_SECTIONS)
    throw view.error(`is ${count}, 1 to ${MAX_SECTIONS} are allowed`, {
      code: count === 0 ? 'bad-value' : 'too-large',
      field: `${name} section count`,
      offset: offset + 12,
    })
  expectU32(view, { offset: offset + 4, field: `${name} length`, value: HEADER_BYTES + count * sectionBytes })
  view.slice(offset, HEADER_BYTES + count * sectionBytes, `${name} sections`)
  const sectionOffsets = Array.from(
    { length: count },
    (_, index) => offset + HEADER_BYTES + index * sectionBytes,
  )
  return { offset, sectionOffsets }
}

function expectU32(
  view: ByteView,
  { offset, field, value }: { offset: number; field: string; value: number },
) {
  const got = view.u32(offset, field)
  if (got !== value) throw view.error(`is ${got}, must be ${value}`, { code: 'bad-value', field, offset })
}
