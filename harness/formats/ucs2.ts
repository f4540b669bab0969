/** CHAR16 strings of UEFI: UCS-2, little-endian, ended by a NUL. UEFI specification 2.10, "Data Types". */
import type { ByteReader } from '../base/bytes.ts'

/**
 * Reads up to and with the NUL. Throws FormatError `truncated` where the bytes end before it. UEFI 2.10, 2.3.1 (Data
 * Types): 2 bytes a character.
 */
export function readUcs2(reader: ByteReader, field: string): string {
  const units: number[] = []
  for (let unit = reader.u16le(field); unit !== 0; unit = reader.u16le(field)) units.push(unit)
  return Buffer.from(Uint16Array.from(units).buffer).toString('utf16le')
}

/** With the NUL at its end. UEFI 2.10, 2.3.1: 2 bytes a character. Never throws. */
export function ucs2Bytes(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf16le')
}
