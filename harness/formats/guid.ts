/** GUIDs as UEFI stores them: the first three groups little-endian, the rest in order. UEFI specification 2.10, appendix A. */
import { FormatError } from '../base/errors.ts'

export const GUID_BYTES = 16
const TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Lower-case text of the first 16 of `bytes`, which must be there. */
export function guidText(bytes: Uint8Array): string {
  const hex = (from: number, to: number) => Buffer.from(bytes.subarray(from, to))
  const groups = [hex(0, 4).reverse(), hex(4, 6).reverse(), hex(6, 8).reverse(), hex(8, 10), hex(10, 16)]
  return groups.map((group) => group.toString('hex')).join('-')
}

/** The 16 bytes of a GUID in text of either case. Throws FormatError `bad-value` for other text. */
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
