/**
 * SEV metadata: which pages a VMM must prepare for an SNP guest, and as what. EDK II,
 * OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm; every section is `u32 gpa, u32 size, u32 type`.
 */
import type { ByteView } from '../byte-view.ts'
import { expectDisjoint } from './overlap.ts'
import { type Area, FOUR_GIB, hex, type MetadataTable, PAGE_BYTES } from './pointed.ts'

/**
 * OVMF's SEV metadata: edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm. A section has 12 bytes: address, size, type.
 */
export const SEV_METADATA = { name: 'SEV metadata', signature: 'ASEV', sectionBytes: 12 } as const

/** Section types by their number: edk2, OvmfSevMetadata.asm (OVMF_SECTION_TYPE_*). */
export const SEV_SECTION_TYPES = {
  1: 'sec-mem',
  2: 'secrets',
  3: 'cpuid',
  4: 'svsm-caa',
  16: 'kernel-hashes',
} as const

/** A section type in words. */
export type SevSectionType = (typeof SEV_SECTION_TYPES)[keyof typeof SEV_SECTION_TYPES]

/** A section: guest memory that QEMU fills or measures before launch. */
export interface SevSection extends Area {
  readonly type: SevSectionType
}

/** Sections that the SNP firmware fills itself, or that are a table: one page, and at most one of each. */
const ONE_PAGE: readonly SevSectionType[] = ['secrets', 'cpuid', 'kernel-hashes']

/**
 * Bytes of all sections together. OVMF asks for 0.2 MB; without a bound one field would make us hash a million pages.
 */
const MAX_TOTAL_BYTES = 64 * 1024 * 1024

/**
 * The sections in the file's order, which is the order of measuring. Throws FormatError for what no SNP VMM could
 * launch: an empty or unaligned section, one past 4 GiB, an unknown type, overlaps with another or with `rom`.
 */
export function sevSections(view: ByteView, table: MetadataTable, rom: Area): readonly SevSection[] {
  const sections = table.sectionOffsets.map((offset, index) => ({
    ...parseSection(view, offset, `SEV section ${index}`),
    name: `SEV section ${index}`,
    offset,
  }))
  for (const type of ONE_PAGE) {
    const [, second] = sections.filter((section) => section.type === type)
    if (second) throw bad(view, second, `is the second of type ${type}`)
  }
  expectDisjoint(view, [{ ...rom, name: 'ROM', offset: 0 }, ...sections])
  const total = sections.reduce((sum, { size }) => sum + size, 0)
  if (total > MAX_TOTAL_BYTES)
    throw view.error(`have ${hex(total)} bytes together, at most ${hex(MAX_TOTAL_BYTES)} are supported`, {
      code: 'too-large',
      field: 'SEV sections',
      offset: table.offset,
    })
  return sections.map(({ gpa, size, type }) => ({ gpa, size, type }))
}

function parseSection(view: ByteView, offset: number, name: string): SevSection {
  const gpa = view.u32(offset, `${name} gpa`)
  const size = view.u32(offset + 4, `${name} size`)
  const type = view.u32(offset + 8, `${name} type`)
  const known = (SEV_SECTION_TYPES as Readonly<Record<number, SevSectionType>>)[type]
  if (known === undefined) throw bad(view, { name: `${name} type`, offset: offset + 8 }, `${type} is unknown`)
  if (gpa % PAGE_BYTES !== 0)
    throw bad(view, { name: `${name} gpa`, offset }, `${hex(gpa)} is not page-aligned`)
  if (size === 0 || size % PAGE_BYTES !== 0 || (ONE_PAGE.includes(known) && size !== PAGE_BYTES))
    throw bad(
      view,
      { name: `${name} size`, offset: offset + 4 },
      `is ${hex(size)}, must be ${ONE_PAGE.includes(known) ? 'one page' : 'whole pages, at least one'}`,
    )
  if (gpa + size > FOUR_GIB)
    throw bad(view, { name: `${name} size`, offset: offset + 4 }, `${hex(size)} reaches past 4 GiB`)
  return { gpa, size, type: known }
}

function bad(view: ByteView, { name, offset }: { name: string; offset: number }, problem: string) {
  return view.error(problem, { code: 'bad-value', field: name, offset })
}
