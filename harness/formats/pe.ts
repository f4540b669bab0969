/** PE32 and PE32+ files (a UKI is one): headers and sections. Microsoft PE format specification. */
import { ByteView } from './byte-view.ts'

const PE_POINTER_AT = 0x3c
const COFF_HEADER_BYTES = 20
const SECTION_HEADER_BYTES = 40
const DIRECTORY_ENTRY_BYTES = 8
/** The loader's own limit. */
const MAX_SECTIONS = 96
const PE32 = 0x10b
const PE32_PLUS = 0x20b
/** IMAGE_DIRECTORY_ENTRY_SECURITY: the one entry whose address is a place in the file. */
const SECURITY_DIRECTORY = 4
/** No boot program is near it; bounds the zeros that a section may ask for. */
const MAX_IMAGE_BYTES = 0x4000_0000

/** IMAGE_SECTION_HEADER: PE Format, "Section Table". */
export interface PeSection {
  readonly name: string
  /** Bytes in memory: what the stub and the firmware measure. */
  readonly virtualSize: number
  /** Place of its bytes in the file. */
  readonly offset: number
  /** Bytes in the file, padded to the file alignment. */
  readonly size: number
}

/** A part of the file. */
interface Place {
  readonly offset: number
  readonly size: number
}

/** What the headers say: PE Format, "COFF File Header" and "Optional Header". */
export interface PeHeaders {
  readonly format: 'PE32' | 'PE32+'
  /** IMAGE_FILE_MACHINE_*: 0x8664 for x86-64. */
  readonly machine: number
  readonly imageBase: bigint
  /** Bytes of the image in memory. */
  readonly sizeOfImage: number
  /** Bytes of all headers, which begin the file and the image in memory. */
  readonly sizeOfHeaders: number
  readonly checkSumAt: number
  /** Place of the security directory's entry in the headers; undefined where the header ends before it. */
  readonly securityEntryAt: number | undefined
  /** Certificate table; undefined where there is none. */
  readonly certificates: Place | undefined
}

/**
 * Headers of an image that a boot program loads. Throws FormatError for what is no PE file, for headers that are cut
 * off, and where the certificate table or the headers reach past the file. PE Format, "COFF File Header" and "Optional
 * Header".
 */
export function parsePeHeaders(file: Uint8Array): PeHeaders {
  const view = new ByteView(file, 'PE file')
  const coff = coffHeaderAt(view)
  const optional = coff + COFF_HEADER_BYTES
  const optionalSize = view.u16(coff + 16, 'SizeOfOptionalHeader')
  const magic = view.u16(optional, 'Magic')
  if (magic !== PE32 && magic !== PE32_PLUS)
    throw view.error(`is 0x${magic.toString(16)}, 0x10b (PE32) or 0x20b (PE32+) is required`, {
      code: 'bad-magic',
      field: 'Magic',
      offset: optional,
    })
  const wide = magic === PE32_PLUS
  const sizeOfHeaders = view.u32(optional + 60, 'SizeOfHeaders')
  view.slice(0, sizeOfHeaders, 'SizeOfHeaders')
  const countAt = optional + (wide ? 108 : 92)
  const directories = Math.min(
    view.u32(countAt, 'NumberOfRvaAndSizes'),
    Math.floor((optional + optionalSize - countAt - 4) / DIRECTORY_ENTRY_BYTES),
  )
  const securityEntryAt =
    directories > SECURITY_DIRECTORY ? countAt + 4 + SECURITY_DIRECTORY * DIRECTORY_ENTRY_BYTES : undefined
  return {
    format: wide ? 'PE32+' : 'PE32',
    machine: view.u16(coff, 'Machine'),
    imageBase: wide
      ? Buffer.from(view.slice(optional + 24, 8, 'ImageBase')).readBigUInt64LE()
      : BigInt(view.u32(optional + 28, 'ImageBase')),
    sizeOfImage: imageSize(view, optional + 56),
    sizeOfHeaders,
    checkSumAt: optional + 64,
    securityEntryAt,
    certificates: securityEntryAt === undefined ? undefined : certificatesAt(view, securityEntryAt),
  }
}

function imageSize(view: ByteView, at: number): number {
  const size = view.u32(at, 'SizeOfImage')
  if (size <= MAX_IMAGE_BYTES) return size
  throw view.error(`is ${size}, at most ${MAX_IMAGE_BYTES} is supported`, {
    code: 'too-large',
    field: 'SizeOfImage',
    offset: at,
  })
}

function certificatesAt(view: ByteView, entryAt: number): Place | undefined {
  const place = {
    offset: view.u32(entryAt, 'CertificateTable.VirtualAddress'),
    size: view.u32(entryAt + 4, 'CertificateTable.Size'),
  }
  if (place.size === 0) return undefined
  view.slice(place.offset, place.size, 'CertificateTable')
  return place
}

/** Throws FormatError where `file` is not a PE file or a section lies outside of it. */
export function parsePeSections(file: Uint8Array): readonly PeSection[] {
  const view = new ByteView(file, 'PE file')
  const coff = coffHeaderAt(view)
  const count = view.u16(coff + 2, 'NumberOfSections')
  if (count > MAX_SECTIONS)
    throw view.error(`is ${count}, at most ${MAX_SECTIONS} are allowed`, {
      code: 'too-large',
      field: 'NumberOfSections',
      offset: coff + 2,
    })
  const first = coff + COFF_HEADER_BYTES + view.u16(coff + 16, 'SizeOfOptionalHeader')
  return Array.from({ length: count }, (_, index) => parseSection(view, first + index * SECTION_HEADER_BYTES))
}

/**
 * The content of section `name` without its padding; undefined where there is none. Throws FormatError for what is no
 * PE image. Microsoft, "PE Format", "Section Table (Section Headers)".
 */
export function peSectionContent(file: Uint8Array, name: string): Uint8Array | undefined {
  const section = parsePeSections(file).find((each) => each.name === name)
  return (
    section && file.subarray(section.offset, section.offset + Math.min(section.size, section.virtualSize))
  )
}

/**
 * A section as the loader puts it into memory: `virtualSize` bytes, zeros after what the file has of it. Throws
 * FormatError `too-large` for one that no image of a supported size can have.
 */
export function peSectionInMemory(file: Uint8Array, section: PeSection): Uint8Array {
  const { offset, size, virtualSize, name } = section
  if (virtualSize <= size) return file.subarray(offset, offset + virtualSize)
  if (virtualSize > MAX_IMAGE_BYTES)
    throw new ByteView(file, 'PE file').error(`is ${virtualSize}, at most ${MAX_IMAGE_BYTES} is supported`, {
      code: 'too-large',
      field: `VirtualSize of section ${name}`,
      offset,
    })
  const memory = Buffer.alloc(virtualSize)
  memory.set(file.subarray(offset, offset + size))
  return memory
}

function coffHeaderAt(view: ByteView): number {
  expectText(view, { offset: 0, text: 'MZ', field: 'e_magic' })
  const pe = view.u32(PE_POINTER_AT, 'e_lfanew')
  expectText(view, { offset: pe, text: 'PE', field: 'Signature' })
  return pe + 4
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
