/**
 * What shim carries for itself: the revocation level that it sets (SbatLevel_Variable.txt, section `.sbatlevel`) and
 * the vendor's certificates (section `.vendor_cert`, cert.S). Both names are longer than the eight bytes of a section
 * header, so they stand in the string table (Microsoft PE format specification, "Section Table").
 */
import { FormatError } from '../base/errors.ts'
import { ByteView } from './byte-view.ts'
import { type PeSection, parsePeSections, peSectionInMemory } from './pe.ts'

/** Vendor GUID of shim's variables and protocol (shim, lib/guid.c), as text in lower case. */
export const SHIM_LOCK = '605dab50-e046-4300-abb6-3dd810dd8b23'
/** Keys of the machine's owner that shim takes beside db: shim, MokVars.txt. GUID as text in lower case. */
export const MOK_LIST = { name: 'MokList', guid: SHIM_LOCK } as const

/** What a build of shim carries: its sections .sbatlevel and .vendor_cert (shim, include/sbat.h and cert.S). */
export interface ShimContents {
  /** CSV that becomes SbatLevel where no policy says otherwise; without its NUL. */
  readonly automaticSbatLevel: Uint8Array
  /** A certificate in DER, or signature lists; empty where there is none. */
  readonly vendorAuthorized: Uint8Array
  readonly vendorDenied: Uint8Array
}

const PE_POINTER_AT = 0x3c
const SYMBOL_BYTES = 18
const LONGEST_NAME = 64

/**
 * Throws FormatError where `file` is no PE file or no shim from 15.7 on, or what it carries lies outside of it. Shim,
 * include/sbat.h and cert.S.
 */
export function parseShim(file: Uint8Array): ShimContents {
  const sections = parsePeSections(file)
  const find = (name: string) => {
    const section = sections.find((each) => longName(file, each) === name)
    if (section !== undefined) return new ByteView(peSectionInMemory(file, section), `section ${name}`)
    throw new FormatError(`cannot read shim: it has no section ${name}, one is required`, {
      ...{ code: 'bad-value', field: name, offset: 0 },
    })
  }
  const certificates = find('.vendor_cert')
  const part = (size: number, place: number, field: string) =>
    certificates.slice(
      certificates.u32(place, `${field} offset`),
      certificates.u32(size, `${field} size`),
      field,
    )
  return {
    automaticSbatLevel: automaticLevel(find('.sbatlevel')),
    vendorAuthorized: part(0, 8, 'vendor_authorized'),
    vendorDenied: part(4, 12, 'vendor_deauthorized'),
  }
}

/** Offsets count from behind the format's version, which comes first. */
function automaticLevel(view: ByteView): Uint8Array {
  const version = view.u32(0, 'format version')
  if (version !== 0)
    throw view.error(`is ${version}, 0 is required`, {
      code: 'bad-value',
      field: 'format version',
      offset: 0,
    })
  const start = 4 + view.u32(4, 'automatic offset')
  let end = start
  while (view.u8(end, 'automatic level') !== 0) end += 1
  return view.slice(start, end - start, 'automatic level')
}

/** The name of a section, from the string table behind the symbols where the header has only `/offset`. */
function longName(file: Uint8Array, { name }: PeSection): string {
  const offset = /^\/(\d{1,7})$/.exec(name)?.[1]
  if (offset === undefined) return name
  const view = new ByteView(file, 'PE file')
  const coff = view.u32(PE_POINTER_AT, 'e_lfanew') + 4
  const symbols = view.u32(coff + 8, 'PointerToSymbolTable')
  const strings = symbols + SYMBOL_BYTES * view.u32(coff + 12, 'NumberOfSymbols')
  const start = strings + Number(offset)
  let end = start
  while (end - start < LONGEST_NAME && view.u8(end, 'section name') !== 0) end += 1
  return view.text(start, end - start, 'section name')
}
