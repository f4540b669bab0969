/** Text from a guest, made safe to show: nothing here may drive a terminal or hide part of a line. */

/** Controls, format characters (bidi, zero width, tags), line and paragraph separators, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu
const ZERO_WIDTH = /[\p{Mn}\p{Me}]/u
const ELLIPSIS = '…'

/** First and last code point of the blocks that terminals draw two columns wide. */
const WIDE_RANGES: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0x303e],
  [0x3041, 0xa4cf],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1f9ff],
  [0x20000, 0x3fffd],
]

function escapeCharacter(character: string): string {
  const codePoint = character.codePointAt(0) ?? 0
  const hex = codePoint.toString(16)
  return codePoint < 0x80 ? `\\x${hex.padStart(2, '0')}` : `\\u{${hex}}`
}

/** Length of the well-formed UTF-8 sequence at `offset` (1 to 4), or 0 where the bytes are malformed. */
export function utf8SequenceLength(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset] ?? 0
  if (first < 0x80) return 1
  if (first < 0xc2 || first > 0xf4) return 0
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  const second = bytes[offset + 1] ?? 0
  // Overlong forms, surrogates and values above U+10FFFF are ruled out by the second byte alone.
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
  if (second < low || second > high) return 0
  for (let index = 2; index < length; index++) {
    const next = bytes[offset + index] ?? 0
    if (next < 0x80 || next > 0xbf) return 0
  }
  return length
}

function decodeShowingInvalid(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let text = ''
  let start = 0
  for (let offset = 0; offset < bytes.length; ) {
    const length = utf8SequenceLength(bytes, offset)
    if (length > 0) {
      offset += length
      continue
    }
    const invalid = (bytes[offset] ?? 0).toString(16)
    text += `${buffer.toString('utf8', start, offset).replace(UNSAFE, escapeCharacter)}\\x${invalid}`
    offset += 1
    start = offset
  }
  return text + buffer.toString('utf8', start).replace(UNSAFE, escapeCharacter)
}

/**
 * Safe for a terminal and for one line of a report. ASCII controls and bytes that are not UTF-8 become `\xNN`;
 * other controls, bidi and zero-width characters, separators and lone surrogates become `\u{..}`. A newline is
 * escaped too. Backslashes stay as they are, so the result is for people, not for decoding.
 */
export function escapeControls(text: string | Uint8Array): string {
  return typeof text === 'string' ? text.replace(UNSAFE, escapeCharacter) : decodeShowingInvalid(text)
}

/**
 * `value` as JSON that is safe to print: what could drive a terminal or hide text is escaped, which no parser notices, and
 * so is `##[`, which begins a command wherever it stands in a log of GitHub Actions. `indent`: spaces.
 */
export function jsonText(value: unknown, indent = 0): string {
  const text = JSON.stringify(value, null, indent).replaceAll('##[', '#\\u0023[')
  return text.replace(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}

function characterWidth(character: string): number {
  const codePoint = character.codePointAt(0) ?? 0
  if (codePoint < 0x300) return 1
  if (ZERO_WIDTH.test(character)) return 0
  return WIDE_RANGES.some(([first, last]) => codePoint >= first && codePoint <= last) ? 2 : 1
}

/** Columns that a terminal needs for `text`, which must be free of controls (see escapeControls). */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

/**
 * `text` cut to at most `columns` columns, the last of them an ellipsis where something was cut. Combining marks
 * take no column, so their number is limited too: a cut text has at most 4 code points a column.
 */
export function truncateToWidth(text: string, columns: number): string {
  if (columns <= 0) return ''
  let kept = ''
  let keptWithEllipsis = ''
  let width = 0
  let codePoints = 0
  for (const character of text) {
    width += characterWidth(character)
    codePoints += 1
    if (width > columns || codePoints > columns * 4) return keptWithEllipsis + ELLIPSIS
    kept += character
    if (width < columns) keptWithEllipsis = kept
  }
  return kept
}
