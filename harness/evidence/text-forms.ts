/** Evidence as text, the way tools print bytes for a terminal, a log or a web form: hex, or base64 of RFC 4648. */

/** Below it a word of a text could be taken for bytes; no evidence is as short (a TPMS_ATTEST has 80 bytes or more). */
const MIN_CHARACTERS = 64
const BASE64 = /^[\w+/-]+={0,2}$/
const HEX = /^(?:0x)?(?:[0-9a-fA-F]{2})+$/

/**
 * The bytes that a text of hex (`0x` or not) or base64 (RFC 4648, 4 or 5; padded or not) stands for, white space
 * within it ignored; any other input as it is. Once: what comes out is not looked at again. Never throws; the result
 * is not longer than the input.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (!startsAsText(bytes)) return bytes
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('latin1')
    .replaceAll(/[\r\n\t ]+/g, '')
  if (text.length < MIN_CHARACTERS) return bytes
  if (HEX.test(text)) return Buffer.from(text.startsWith('0x') ? text.slice(2) : text, 'hex')
  return BASE64.test(text) ? (decodeBase64(text) ?? bytes) : bytes
}

/** Undefined for what is no canonical base64 of at least one byte: RFC 4648, 3.5 (the bits left over are zero). */
export function decodeBase64(text: string): Buffer | undefined {
  const decoded = Buffer.from(text, 'base64')
  const unpadded = text
    .replace(/={1,2}$/, '')
    .replaceAll('+', '-')
    .replaceAll('/', '_')
  return decoded.length > 0 && decoded.toString('base64url') === unpadded ? decoded : undefined
}

/** A look at the first bytes, so that a large binary file is not turned into text. */
function startsAsText(bytes: Uint8Array): boolean {
  return bytes.subarray(0, MIN_CHARACTERS).every((byte) => byte < 0x7f && (byte > 0x20 || isSpace(byte)))
}

const isSpace = (byte: number): boolean => [0x09, 0x0a, 0x0d, 0x20].includes(byte)
