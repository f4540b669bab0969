/**
 * GUIDs as UEFI stores them: the first three groups little-endian, the rest in order. UEFI specification 2.10, appendix
 * A.
 */
import { FormatError } from '../base/errors.ts'

/** Bytes of an EFI_GUID: UEFI 2.10, appendix A. */
export const GUID_BYTES = 16
const TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Lower-case text of the first 16 of `bytes`, which must be there. UEFI 2.10, appendix A. Never throws. */
export function guidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, GUID_BYTES)).toString('hex')
  const byte = (index: number) => hex.slice(2 * index, 2 * index + 2)
  const swapped = `${byte(3)}${byte(2)}${byte(1)}${byte(0)}-${byte(5)}${byte(4)}-${byte(7)}${byte(6)}`
  return `${swapped}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/**
 * The 16 bytes of a GUID in text of either case. Throws FormatError `bad-value` for other text. UEFI 2.10, appendix A.
 */
export function guidBytes(text: string): Buffer {
  const lower = text.toLowerCase()
  if (!TEXT.test(lower))
    throw new FormatError(`cannot encode a GUID: "${text}" is not 8-4-4-4-12 hexadecimal digits`, {
      code: 'bad-value',
      field: 'GUID',
      offset: 0,
    })
  const [a = '', b = '', c = '', d = '', e = ''] = lower.split('-')
  const swapped = [a, b, c].map((group) => Buffer.from(group, 'hex').reverse())
  return Buffer.concat([...swapped, Buffer.from(d + e, 'hex')])
}
