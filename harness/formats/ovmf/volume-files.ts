/**
 * What EDK II measures of its own code: the firmware volumes that are compressed in the flash. UEFI PI specification
 * 1.8, volume 3, chapters 3.2.1 (volumes), 3.2.3 (files) and 3.2.4 (sections).
 */
import { ByteView } from '../byte-view.ts'
import { GUID_BYTES, guidText } from '../guid.ts'
import { decompressLzma } from '../lzma.ts'

const SIGNATURE = '_FVH'
const LENGTH_AT = 32
const SIGNATURE_AT = 40
const HEADER_LENGTH_AT = 48
const EXT_HEADER_AT = 52
const VOLUME_ALIGNMENT = 0x1000
const FFS2 = '8c8ce578-8a3d-4f1c-9935-896185c32dd3'
const FFS3 = '5473c07a-3dcb-4dca-bd6f-1e9689e7349a'

const FILE_HEADER_BYTES = 24
const LARGE_FILE = 0x01
const FILE_ALIGNMENT = 8
const PAD_FILE = 0xf0

const SECTION_HEADER_BYTES = 4
const SECTION_ALIGNMENT = 4
const EXTENDED_SIZE = 0xff_ffff
const GUID_DEFINED = 0x02
const VOLUME_IMAGE = 0x17
const LZMA_GUID = 'ee4e5898-3914-4259-9d6e-dc7bd79403cf'

/** Above what any volume has; bound the walks. */
const MOST_FILES = 4096
const MOST_SECTIONS = 64

/** Types of a section that holds a program. */
export const PROGRAM_SECTIONS: readonly number[] = [0x10, 0x12]

/** A file of a firmware volume: UEFI Platform Initialization, volume 3, "Firmware File". */
export interface VolumeFile {
  readonly guid: string
  /** EFI_FV_FILETYPE_*. */
  readonly type: number
  readonly sections: readonly VolumeSection[]
}

/** A section of a file, decoded: UEFI Platform Initialization, volume 3, "Firmware File Section". */
export interface VolumeSection {
  /** EFI_SECTION_*. */
  readonly type: number
  readonly content: Uint8Array
  /** Of a GUID-defined section. */
  readonly guid: string | undefined
}

/**
 * The volumes that the firmware decompresses at start, whole, in their order: of an OVMF build the one of the PEI
 * phase, where it has that phase, and the one of the DXE phase. Empty where nothing is compressed with LZMA. Throws
 * FormatError for volumes, files or sections that reach outside of what holds them. PI 1.8, volume 3, 3.2.1 and 3.2.4.
 */
export function compressedVolumes(firmware: Uint8Array): readonly Uint8Array[] {
  return outerVolumes(firmware)
    .flatMap((volume) => volumeFiles(volume))
    .flatMap(({ sections }) => sections.filter(({ guid }) => guid === LZMA_GUID))
    .flatMap(({ content }) => sectionsOf(decompressLzma(content)))
    .filter(({ type }) => type === VOLUME_IMAGE)
    .map(({ content }) => content)
}

/** Volumes of the flash that hold files: those of variables do not. */
function outerVolumes(firmware: Uint8Array): readonly Uint8Array[] {
  const view = new ByteView(firmware, 'firmware')
  const volumes: Uint8Array[] = []
  for (let at = 0; at + VOLUME_ALIGNMENT <= firmware.length; ) {
    if (view.text(at + SIGNATURE_AT, SIGNATURE.length, 'Signature') !== SIGNATURE) {
      at += VOLUME_ALIGNMENT
      continue
    }
    const length = view.u64(at + LENGTH_AT, 'FvLength')
    const volume = view.slice(at, length, 'firmware volume')
    if (length < VOLUME_ALIGNMENT)
      throw view.error(`is ${length}, at least ${VOLUME_ALIGNMENT} is required`, {
        code: 'bad-value',
        field: 'FvLength',
        offset: at + LENGTH_AT,
      })
    const system = guidText(view.slice(at + 16, GUID_BYTES, 'FileSystemGuid'))
    if (system === FFS2 || system === FFS3) volumes.push(volume)
    at += Math.ceil(length / VOLUME_ALIGNMENT) * VOLUME_ALIGNMENT
  }
  return volumes
}

/** Files of a volume with their sections, without padding. Throws FormatError. PI 1.8, volume 3, 3.2.3 and 3.2.4. */
export function volumeFiles(volume: Uint8Array): readonly VolumeFile[] {
  const view = new ByteView(volume, 'firmware volume')
  const files: VolumeFile[] = []
  let at = firstFile(view)
  while (at + FILE_HEADER_BYTES <= volume.length && !isErased(view, at)) {
    const large = (view.u8(at + 19, 'Attributes') & LARGE_FILE) !== 0
    const header = large ? FILE_HEADER_BYTES + 8 : FILE_HEADER_BYTES
    const size = large ? view.u64(at + FILE_HEADER_BYTES, 'ExtendedSize') : u24(view, at + 20, 'Size')
    if (size < header || files.length === MOST_FILES)
      throw view.error(`is ${size}, at least ${header} is required, of at most ${MOST_FILES} files`, {
        code: 'bad-value',
        field: 'Size',
        offset: at + 20,
      })
    const content = view.slice(at + header, size - header, 'file')
    const type = view.u8(at + 18, 'Type')
    const guid = guidText(view.slice(at, GUID_BYTES, 'Name'))
    // Types from 0xf0 are padding; type 1 is raw data without sections.
    if (type !== 1 && type < PAD_FILE) files.push({ guid, type, sections: sectionsOf(content) })
    at = alignUp(at + size, FILE_ALIGNMENT)
  }
  return files
}

function firstFile(view: ByteView): number {
  const header = view.u16(HEADER_LENGTH_AT, 'HeaderLength')
  const extended = view.u16(EXT_HEADER_AT, 'ExtHeaderOffset')
  if (extended === 0) return alignUp(header, FILE_ALIGNMENT)
  return alignUp(extended + view.u32(extended + GUID_BYTES, 'ExtHeaderSize'), FILE_ALIGNMENT)
}

function isErased(view: ByteView, at: number): boolean {
  return view.slice(at, FILE_HEADER_BYTES, 'file header').every((byte) => byte === 0xff)
}

function sectionsOf(content: Uint8Array): readonly VolumeSection[] {
  const view = new ByteView(content, 'firmware file')
  const sections: VolumeSection[] = []
  for (let at = 0; at + SECTION_HEADER_BYTES <= content.length; ) {
    const short = u24(view, at, 'Size')
    const size = short === EXTENDED_SIZE ? view.u32(at + SECTION_HEADER_BYTES, 'ExtendedSize') : short
    const header = short === EXTENDED_SIZE ? SECTION_HEADER_BYTES + 4 : SECTION_HEADER_BYTES
    if (size < header || sections.length === MOST_SECTIONS)
      throw view.error(`is ${size}, at least ${header} is required, of at most ${MOST_SECTIONS} sections`, {
        code: 'bad-value',
        field: 'section Size',
        offset: at,
      })
    sections.push(parseSection(view.slice(at, size, 'section'), header))
    at = alignUp(at + size, SECTION_ALIGNMENT)
  }
  return sections
}

function parseSection(section: Uint8Array, header: number): VolumeSection {
  const view = new ByteView(section, 'section')
  const type = view.u8(3, 'Type')
  if (type !== GUID_DEFINED) return { type, content: section.subarray(header), guid: undefined }
  const guid = guidText(view.slice(header, GUID_BYTES, 'SectionDefinitionGuid'))
  const dataAt = view.u16(header + GUID_BYTES, 'DataOffset')
  return { type, content: view.slice(dataAt, section.length - dataAt, 'DataOffset'), guid }
}

function u24(view: ByteView, at: number, field: string): number {
  return view.u16(at, field) + view.u8(at + 2, field) * 0x1_0000
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}
