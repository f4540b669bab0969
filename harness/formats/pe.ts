/** Sections of PE32+ files (a UKI is one): Microsoft PE format specification. */
import { ByteView } from './byte-view.ts'

const PE_POINTER_AT = 0x3c
const COFF_HEADER_BYTES = 20
const SECTION_HEADER_BYTES = 40
/** The loader's own limit. */
const MAX_SECTIONS = 96

export interface PeSection {
  readonly name: string
  /** Bytes in memory: what the stub and the firmware measure. */
  readonly virtualSize: number
  /** Place of its bytes in the file. */
  readonly offset: number
  /** Bytes in the file, padded to the file alignment. */
  readonly size: number
}

/** Throws FormatError where `file` is not a PE file or a section lies outside of it. */
export function parsePeSections(file: Uint8Array): readonly PeSection[] {
  const view = new ByteView(file, 'PE file')
  expectText(view, { offset: 0, text: 'MZ', field: 'e_magic' })
  const pe = view.u32(PE_POINTER_AT, 'e_lfanew')
  expectText(view, { offset: pe, text: 'PE', field: 'Signature' })
  const count = view.u16(pe + 6, 'NumberOfSections')
  if (count > MAX_SECTIONS)
    throw view.error(`is ${count}, at most ${MAX_SECTIONS} are allowed`, {
      code: 'too-large',
      field: 'NumberOfSections',
      offset: pe + 6,
    })
  const first = pe + 4 + COFF_HEADER_BYTES + view.u16(pe + 20, 'SizeOfOptionalHeader')
  return Array.from({ length: count }, (_, index) => parseSection(view, first + index * SECTION_HEADER_BYTES))
}

/** The content of section `name` without its padding; undefined where there is none. */
export function peSectionContent(file: Uint8Array, name: string): Uint8Array | undefined {
  const section = parsePeSections(file).find((each) => each.name === name)
  return (
    section && file.subarray(section.offset, section.offset + Math.min(section.size, section.virtualSize))
  )
}

function parseSection(view: ByteView, at: number): PeSection {
  const section = {
    name: view.text(at, 8, 'Name'),
    virtualSize: view.u32(at + 8, 'VirtualSize'),
    size: view.u32(at + 16, 'SizeOfRawData'),
    offset: view.u32(at + 20, 'PointerToRawData'),
  }
  view.slice(section.offset, section.size, `section ${section.name}`)
  return section
}

function expectText(view: ByteView, expected: { offset: number; text: string; field: string }): void {
  if (view.text(expected.offset, expected.text.length, expected.field) === expected.text) return
  throw view.error(`is not "${expected.text}"`, { code: 'bad-magic', ...expected })
}
