/** EFI_LOAD_OPTION (BootXXXX), BootOrder and BootNext. UEFI specification 2.10, chapter 3. */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { type DevicePath, encodeDevicePath, readDevicePath } from './device-path.ts'
import { readUcs2, ucs2Bytes } from './ucs2.ts'

/** Bit of EFI_LOAD_OPTION.Attributes: UEFI 2.10, 3.1.3. */
export const LOAD_OPTION_ACTIVE = 1
const BOOT_ENTRY = /^Boot([0-9A-F]{4})$/

/** EFI_LOAD_OPTION: UEFI 2.10, 3.1.3. */
export interface LoadOption {
  /** LOAD_OPTION_ACTIVE, or 0: the firmware passes it over. */
  readonly attributes: number
  /** What a boot menu shows. */
  readonly description: string
  /** The first is what is booted. */
  readonly paths: readonly DevicePath[]
  /** Given to the image as its load options. */
  readonly optionalData: Uint8Array
}

/** Parses the data of a BootXXXX variable. Throws FormatError. UEFI 2.10, 3.1.3 (Load Options): EFI_LOAD_OPTION. */
export function parseLoadOption(data: Uint8Array): LoadOption {
  const reader = new ByteReader(data, { what: 'load option' })
  const attributes = reader.u32le('Attributes')
  const pathBytes = reader.u16le('FilePathListLength')
  const description = readUcs2(reader, 'Description')
  const list = reader.sub(pathBytes, 'FilePathList')
  const paths: DevicePath[] = []
  while (list.remaining > 0) paths.push(readDevicePath(list))
  if (paths.length === 0) throw list.error('bad-value', 'FilePathListLength', 'is 0, one path is required')
  return { attributes, description, paths, optionalData: reader.rest() }
}

/**
 * The bytes of a Boot#### variable (UEFI 2.10, 3.1.3). Throws FormatError where the device paths are longer than 65535
 * bytes.
 */
export function encodeLoadOption({ attributes, description, paths, optionalData }: LoadOption): Buffer {
  const list = Buffer.concat(paths.map(encodeDevicePath))
  return new ByteWriter({ what: 'load option' })
    .u32le(attributes, 'Attributes')
    .u16le(list.length, 'FilePathListLength')
    .bytes(ucs2Bytes(description), 'Description')
    .bytes(list, 'FilePathList')
    .bytes(optionalData, 'OptionalData')
    .finish()
}

/** `Boot0007` for 7: four digits, upper case. UEFI 2.10, 3.3 (Globally Defined Variables). Never throws. */
export function bootEntryName(number: number): string {
  return `Boot${number.toString(16).toUpperCase().padStart(4, '0')}`
}

/** 7 for `Boot0007`; undefined for other variables. UEFI 2.10, 3.3. Never throws. */
export function bootEntryNumber(name: string): number | undefined {
  const digits = BOOT_ENTRY.exec(name)?.[1]
  return digits === undefined ? undefined : Number.parseInt(digits, 16)
}

/**
 * Numbers of entries: BootOrder, or BootNext with one. Throws FormatError where half a number is left. UEFI 2.10, 3.3:
 * 16 bits each, little-endian.
 */
export function parseBootNumbers(data: Uint8Array): readonly number[] {
  const reader = new ByteReader(data, { what: 'boot order' })
  const numbers: number[] = []
  while (reader.remaining > 0) numbers.push(reader.u16le('entry'))
  return numbers
}

/**
 * The value of BootOrder or BootNext: 2 bytes each, little-endian (UEFI 2.10, 3.3). Throws FormatError for a number
 * above 0xFFFF.
 */
export function encodeBootNumbers(numbers: readonly number[]): Buffer {
  const writer = new ByteWriter({ what: 'boot order' })
  for (const number of numbers) writer.u16le(number, 'entry')
  return writer.finish()
}
