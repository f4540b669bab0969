/** What an ELF file needs to run: its interpreter and its DT_NEEDED libraries. 64-bit little-endian only. */
import { ByteView } from './byte-view.ts'

const MAGIC = '\x7fELF'
const CLASS_64_LITTLE_ENDIAN = [2, 1]
const PROGRAM_HEADER_BYTES = 56
const PT_LOAD = 1
const PT_DYNAMIC = 2
const PT_INTERP = 3
const DT_NEEDED = 1
const DT_STRTAB = 5
const MAX_NAME_BYTES = 4096

/** What a program needs to be started: PT_INTERP and DT_NEEDED of the ELF specification (gABI, "Dynamic Linking"). */
export interface ElfNeeds {
  /** Absolute path of the dynamic linker; undefined for libraries and static programs. */
  readonly interpreter: string | undefined
  /** Names of libraries, without a folder, in the order of the file. */
  readonly libraries: readonly string[]
}

interface Segment {
  readonly type: number
  readonly offset: number
  readonly address: number
  readonly size: number
}

/** By the magic of its first 4 bytes alone (gABI, "ELF Identification"). Never throws. */
export function isElf(file: Uint8Array): boolean {
  return Buffer.from(file.subarray(0, 4)).toString('latin1') === MAGIC
}

/**
 * Throws FormatError where `file` is not a 64-bit little-endian ELF file or points outside of itself. gABI, "ELF
 * Header", "Program Header" and "Dynamic Linking".
 */
export function parseElfNeeds(file: Uint8Array): ElfNeeds {
  const view = new ByteView(file, 'ELF file')
  if (!isElf(file))
    throw view.error('is not that of an ELF file', { code: 'bad-magic', field: 'EI_MAG', offset: 0 })
  if (CLASS_64_LITTLE_ENDIAN.some((value, index) => view.u8(4 + index, 'EI_CLASS') !== value))
    throw view.error('is not that of a 64-bit little-endian file', {
      code: 'bad-value',
      field: 'EI_CLASS',
      offset: 4,
    })
  const segments = parseSegments(view)
  const interpreter = segments.find((segment) => segment.type === PT_INTERP)
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC)
  return {
    interpreter: interpreter && view.text(interpreter.offset, interpreter.size, 'PT_INTERP'),
    libraries: dynamic ? neededLibraries(view, dynamic, segments) : [],
  }
}

function parseSegments(view: ByteView): Segment[] {
  const start = view.u64(0x20, 'e_phoff')
  return Array.from({ length: view.u16(0x38, 'e_phnum') }, (_, index) => {
    const at = start + index * PROGRAM_HEADER_BYTES
    return {
      type: view.u32(at, 'p_type'),
      offset: view.u64(at + 8, 'p_offset'),
      address: view.u64(at + 16, 'p_vaddr'),
      size: view.u64(at + 32, 'p_filesz'),
    }
  })
}

function neededLibraries(view: ByteView, dynamic: Segment, segments: readonly Segment[]): string[] {
  const entries = Array.from({ length: Math.floor(dynamic.size / 16) }, (_, index) => ({
    at: dynamic.offset + index * 16,
  }))
  const tagged = (tag: number) => entries.filter(({ at }) => view.u32(at, 'd_tag') === tag)
  const table = tagged(DT_STRTAB)[0]
  if (!table) return []
  const address = view.u64(table.at + 8, 'DT_STRTAB')
  const home = segments.find(
    (segment) =>
      segment.type === PT_LOAD && address >= segment.address && address < segment.address + segment.size,
  )
  if (!home)
    throw view.error('lies in no segment', { code: 'bad-value', field: 'DT_STRTAB', offset: table.at })
  const strings = address - home.address + home.offset
  return tagged(DT_NEEDED).map(({ at }) => {
    const start = strings + view.u64(at + 8, 'DT_NEEDED')
    return view.text(start, Math.min(MAX_NAME_BYTES, Math.max(1, view.length - start)), 'library name')
  })
}
