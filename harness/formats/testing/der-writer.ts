/** Writes DER, right or deliberately wrong, for test certificates and the emulated security processor. */

/** Identifier octet, minimal definite length, content. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const sizes = [length >>> 24, length >>> 16, length >>> 8, length].map((byte) => byte & 0xff)
  const significant = sizes.slice(sizes.findIndex((byte) => byte !== 0))
  const header = length < 0x80 ? [tag, length] : [tag, 0x80 | significant.length, ...significant]
  return Buffer.concat([Buffer.from(header), content])
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts)
export const set = (...parts: readonly Uint8Array[]): Buffer => der(0x31, ...parts)
export const explicit = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  der(0xa0 | number, ...parts)
export const octetString = (content: Uint8Array): Buffer => der(0x04, content)
export const bitString = (content: Uint8Array, unusedBits = 0): Buffer =>
  der(0x03, Buffer.from([unusedBits]), content)
export const boolean = (value: 'true' | 'false'): Buffer =>
  der(0x01, Buffer.from([value === 'true' ? 0xff : 0]))
export const nothing = (): Buffer => der(0x05)
export const utf8 = (text: string): Buffer => der(0x0c, Buffer.from(text))
export const printable = (text: string): Buffer => der(0x13, Buffer.from(text, 'latin1'))
export const ia5 = (text: string): Buffer => der(0x16, Buffer.from(text, 'latin1'))

/** Of a value from 0 to 2^53 - 1, or of big-endian bytes taken as a positive number. */
export function integer(value: number | Uint8Array): Buffer {
  const bytes = typeof value === 'number' ? bigEndian(value) : Buffer.from(value)
  const start = bytes.findIndex((byte) => byte !== 0)
  const minimal = start < 0 ? Buffer.alloc(1) : bytes.subarray(start)
  return der(0x02, ...((minimal[0] ?? 0) >= 0x80 ? [Buffer.alloc(1)] : []), minimal)
}

function bigEndian(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

/** Of dotted decimal. */
export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  return der(0x06, Buffer.from([first * 40 + second, ...rest].flatMap(base128)))
}

function base128(arc: number): number[] {
  const digits = [arc % 128]
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
    digits.unshift(0x80 | (left % 128))
  return digits
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5). */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/[-:T]|[.]\d+/g, '')
  return date.getUTCFullYear() < 2050
    ? der(0x17, Buffer.from(digits.slice(2)))
    : der(0x18, Buffer.from(digits))
}
