/** Evidence as text, the way tools print bytes for a terminal, a log or a web form: hex, or base64 of RFC 4648. */

/** Below it a word of a text could be taken for bytes; no evidence is as short (a TPMS_ATTEST has 80 bytes or more). */
const MIN_CHARACTERS = 64

/**
 * The bytes that a text of hex (`0x` or not) or base64 (RFC 4648, 4 or 5; padded or not) stands for, white space
 * within it ignored; any other input as it is. What comes out is not looked at again here. Never throws; the result
 * is not longer than the input. Takes no memory before each byte was looked at, then some three times the characters.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  const counts = countCharacters(bytes)
  if (counts === undefined || counts.characters < MIN_CHARACTERS) return bytes
  const text = withoutSpace(bytes, counts.characters)
  const start = text.toString('latin1', 0, 2) === '0x' ? 2 : 0
  // The x of the prefix is the one character that is no digit.
  const isHex = counts.notHex === start / 2 && text.length % 2 === 0
  if (isHex) return Buffer.from(text.toString('latin1', start), 'hex')
  // All before the last group is whole groups of the alphabet, so that only the last can be another form of its bytes.
  const unpadded = text.subarray(0, text.length - counts.padding)
  const lastGroup = unpadded.toString('latin1', unpadded.length - (unpadded.length % 4 || 4))
  return decodeBase64(lastGroup) === undefined ? bytes : Buffer.from(unpadded.toString('latin1'), 'base64')
}

const [FOREIGN, SPACE, HEX, BASE64, PADDING] = [0, 1, 2, 3, 4]
const MOST_PADDING = 2
const KINDS = kindsOfBytes()

function kindsOfBytes(): Uint8Array {
  const kinds = new Uint8Array(256)
  const are = (characters: string, kind: number) => {
    for (const byte of Buffer.from(characters)) kinds[byte] = kind
  }
  are('\t\n\r ', SPACE)
  are('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/-_', BASE64)
  are('0123456789abcdefABCDEF', HEX)
  are('=', PADDING)
  return kinds
}

/** Undefined at the first byte that neither form has there: in a binary file one of the first. */
function countCharacters(bytes: Uint8Array) {
  let [spaces, notHex, padding] = [0, 0, 0]
  for (let at = 0; at < bytes.length; at++) {
    const kind = KINDS[bytes[at] ?? 0]
    if (kind === HEX && padding === 0) continue
    if (kind === SPACE) spaces += 1
    else if (kind === FOREIGN || (kind !== PADDING && padding > 0) || padding === MOST_PADDING)
      return undefined
    else notHex += 1
    if (kind === PADDING) padding += 1
  }
  return { characters: bytes.length - spaces, notHex, padding }
}

function withoutSpace(bytes: Uint8Array, characters: number): Buffer {
  const text = Buffer.allocUnsafe(characters)
  let end = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (KINDS[byte] !== SPACE) text[end++] = byte
  }
  return text
}

/**
 * Undefined for what is no canonical base64 of at least one byte: RFC 4648, 3.5 (the bits left over are zero). Never
 * throws.
 */
export function decodeBase64(text: string): Buffer | undefined {
  const decoded = Buffer.from(text, 'base64')
  const unpadded = text
    .replace(/={1,2}$/, '')
    .replaceAll('+', '-')
    .replaceAll('/', '_')
  return decoded.length > 0 && decoded.toString('base64url') === unpadded ? decoded : undefined
}
