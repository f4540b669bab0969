/**
 * Whether a file is a whole ROM. EDK II's ROMs are firmware volumes end to end, the variable store first (UEFI PI
 * specification 1.8, volume 3, chapter 3.2.1). Distributions also ship the code alone, for pflash: it has the same
 * tables, so a digest of it would look right and be of a ROM that nobody can start.
 */
import type { ByteView } from '../byte-view.ts'
import { GUID_BYTES, guidText } from '../guid.ts'
import { hex, PAGE_BYTES } from './pointed.ts'

const SIGNATURE = Buffer.from('_FVH')
const SIGNATURE_AT = 40
const FILE_SYSTEM_GUID_AT = 16
const LENGTH_AT = 32
const HEADER_LENGTH_AT = 48
const CHECKSUM_AT = 50
/** EFI_SYSTEM_NV_DATA_FV_GUID: a volume of variables. */
const VARIABLE_STORE = 'fff12b8d-7696-4c8b-a985-2747075b4f50'

/**
 * Throws FormatError unless the file starts with a variable store, or has no firmware volumes at all: firmware that is
 * not EDK II's brings its own layout. PI 1.8, volume 3, 3.2.1.
 */
export function expectVariableStore(view: ByteView): void {
  const first = firstVolume(view)
  if (first === undefined) return
  if (first !== 0)
    throw view.error(`is ${hex(first)} bytes into the file, must be at its start: the start is cut off`, {
      code: 'truncated',
      field: 'first firmware volume',
      offset: 0,
    })
  const guid = guidText(view.slice(FILE_SYSTEM_GUID_AT, GUID_BYTES, 'FileSystemGuid'))
  if (guid !== VARIABLE_STORE)
    throw view.error(
      `is ${guid}, must be ${VARIABLE_STORE}: the file has the code but not the variable store, -bios needs both`,
      { code: 'bad-value', field: 'FileSystemGuid', offset: FILE_SYSTEM_GUID_AT },
    )
  expectVolumes(view)
}

function firstVolume(view: ByteView): number | undefined {
  for (let at = 0; at < view.length; at += PAGE_BYTES) if (isVolume(view, at)) return at
  return undefined
}

function isVolume({ bytes }: ByteView, at: number): boolean {
  return SIGNATURE.every((byte, index) => bytes[at + SIGNATURE_AT + index] === byte)
}

/** Headers are sums of zero, and no volume reaches past the file: one that does was cut off, at its end or before. */
function expectVolumes(view: ByteView): void {
  for (let at = 0; isVolume(view, at); ) {
    const length = view.u64(at + LENGTH_AT, 'FvLength')
    if (length === 0 || at + length > view.length)
      throw view.error(`is ${hex(length)}, ${hex(view.length - at)} bytes of the file remain`, {
        code: length === 0 ? 'bad-value' : 'truncated',
        field: 'FvLength',
        offset: at + LENGTH_AT,
      })
    expectZeroSum(view, at)
    at += length
  }
}

function expectZeroSum(view: ByteView, at: number): void {
  const header = view.u16(at + HEADER_LENGTH_AT, 'HeaderLength')
  let sum = 0
  for (let offset = 0; offset < header; offset += 2) sum += view.u16(at + offset, 'firmware volume header')
  if (header % 2 === 0 && (sum & 0xffff) === 0) return
  throw view.error('does not make the sum of the header zero', {
    code: 'bad-value',
    field: 'Checksum',
    offset: at + CHECKSUM_AT,
  })
}
