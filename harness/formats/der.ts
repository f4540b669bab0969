/**
 * DER, the distinguished encoding of ASN.1: ITU-T X.690 (02/2021), chapters 8, 10 and 11. A cursor that the caller
 * drives along the structure it expects, so nothing here recurses on input. Lengths are definite and minimal, tags are
 * those of the low form, primitive values have their one encoding. An explicitly encoded DEFAULT is let through: AMD's
 * and Intel's own certificates have some, and a signature covers whichever was chosen.
 */
import { FormatError } from '../base/errors.ts'

/** Identifier octets: class, form and number in one byte (X.690, 8.1.2). */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  t61String: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const

/**
 * `[number]` of a tagged field; constructed for EXPLICIT tags and structures, primitive for the rest. X.690, 8.1.2;
 * `number` from 0 to 30. Never throws.
 */
export function contextTag(number: number, form: 'constructed' | 'primitive'): number {
  return 0x80 | (form === 'constructed' ? 0x20 : 0) | number
}

/** One element; its bytes are views of the input, made when they are asked for. X.690, 8.1; offsets in bytes. */
export class DerElement {
  readonly tag: number
  /** Of the first header byte and of the first content byte in the outermost structure. */
  readonly offset: number
  readonly contentOffset: number
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #contentStart: number
  readonly #end: number

  constructor(bytes: Uint8Array, { base, start, contentStart, end }: ElementBounds) {
    this.tag = bytes[start] ?? 0
    this.offset = base + start
    this.contentOffset = base + contentStart
    this.#bytes = bytes
    this.#start = start
    this.#contentStart = contentStart
    this.#end = end
  }

  /** Content octets. */
  get content(): Uint8Array {
    return this.#bytes.subarray(this.#contentStart, this.#end)
  }

  /** The whole element with its header. */
  get raw(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end)
  }
}

interface ElementBounds {
  readonly base: number
  readonly start: number
  readonly contentStart: number
  readonly end: number
}

/** Content of a BIT STRING; `unusedBits` (0 to 7) at its end are zero, as DER requires. X.690, 8.6 and 11.2. */
export interface BitString {
  readonly unusedBits: number
  readonly bytes: Uint8Array
}

const HIGH_TAG_NUMBER = 0x1f
const MAX_LENGTH_BYTES = 4
const MAX_DEPTH = 24
const MAX_OID_BYTES = 64

/** Names and offsets for errors. Offsets in bytes. */
export interface DerOptions {
  /** What is being parsed, for messages: "certificate". */
  readonly what: string
  /** Offset of the first byte in the outermost structure. */
  readonly base?: number
}

/**
 * A cursor over DER (X.690, 8, 10 and 11). Every method takes the field's name as the specification spells it, and
 * throws FormatError.
 */
export class DerReader {
  readonly what: string
  readonly #bytes: Uint8Array
  readonly #base: number
  readonly #depth: number
  #position = 0

  constructor(bytes: Uint8Array, { what, base = 0 }: DerOptions, depth = 0) {
    this.what = what
    this.#bytes = bytes
    this.#base = base
    this.#depth = depth
  }

  /** Offset of the next byte in the outermost structure. */
  get offset(): number {
    return this.#base + this.#position
  }

  get done(): boolean {
    return this.#position >= this.#bytes.length
  }

  /** Identifier octet of the next element; undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#position]
  }

  /** The next element, whatever its tag. */
  any(field: string): DerElement {
    const start = this.#position
    const tag = this.#byte(start, field)
    if ((tag & HIGH_TAG_NUMBER) === HIGH_TAG_NUMBER)
      throw this.error('bad-value', field, 'has a tag number above 30, none is used here')
    const { length, contentStart } = this.#lengthAt(start + 1, field)
    const end = contentStart + length
    if (end > this.#bytes.length)
      throw this.error(
        'truncated',
        field,
        `needs ${length} bytes, ${this.#bytes.length - contentStart} remain`,
      )
    this.#position = end
    return new DerElement(this.#bytes, { base: this.#base, start, contentStart, end })
  }

  read(tag: number, field: string): DerElement {
    const got = this.peek()
    if (got === undefined) throw this.error('truncated', field, 'needs at least 2 bytes, 0 remain')
    if (got !== tag)
      throw this.error('bad-value', field, `has the tag ${hexByte(got)}, must have ${hexByte(tag)}`)
    return this.any(field)
  }

  /** Undefined where the next element has another tag or there is none. */
  optional(tag: number, field: string): DerElement | undefined {
    return this.peek() === tag ? this.any(field) : undefined
  }

  /** A reader over the content of an element. */
  enter(element: DerElement, field: string): DerReader {
    if (this.#depth >= MAX_DEPTH)
      throw this.error('too-large', field, `is nested deeper than ${MAX_DEPTH} levels`, element.offset)
    const options = { what: this.what, base: element.contentOffset }
    return new DerReader(element.content, options, this.#depth + 1)
  }

  sequence(field: string): DerReader {
    return this.enter(this.read(TAG.sequence, field), field)
  }

  set(field: string): DerReader {
    return this.enter(this.read(TAG.set, field), field)
  }

  /** Content of an EXPLICIT `[number]`; undefined where it is absent. */
  explicit(number: number, field: string): DerReader | undefined {
    const element = this.optional(contextTag(number, 'constructed'), field)
    return element && this.enter(element, field)
  }

  /** Two's complement, big-endian, at least one byte: what identifies a serial number. */
  integerBytes(field: string): Uint8Array {
    const { content, offset } = this.read(TAG.integer, field)
    const [first, second] = content
    if (first === undefined) throw this.error('bad-value', field, 'is an INTEGER of 0 bytes', offset)
    const padded =
      second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
    if (padded) throw this.error('bad-value', field, 'is an INTEGER with a superfluous leading byte', offset)
    return content
  }

  /** A value from 0 to `max`, at most 2^31 - 1. */
  smallInteger(field: string, max: number): number {
    const offset = this.offset
    const bytes = this.integerBytes(field)
    let value = (bytes[0] ?? 0) >= 0x80 ? -1 : 0
    if (bytes.length <= 4) for (const byte of bytes) value = (value << 8) | byte
    if (bytes.length > 4 || value < 0 || value > max)
      throw this.error('bad-value', field, `is not an INTEGER from 0 to ${max}`, offset)
    return value
  }

  boolean(field: string): boolean {
    const { content, offset } = this.read(TAG.boolean, field)
    const [value] = content
    if (content.length !== 1 || (value !== 0 && value !== 0xff))
      throw this.error('bad-value', field, 'is no BOOLEAN: one byte, 0x00 or 0xff', offset)
    return value === 0xff
  }

  null(field: string): void {
    const { content, offset } = this.read(TAG.null, field)
    if (content.length > 0) throw this.error('bad-value', field, 'is a NULL with content', offset)
  }

  octetString(field: string): Uint8Array {
    return this.read(TAG.octetString, field).content
  }

  bitString(field: string): BitString {
    const { content, offset } = this.read(TAG.bitString, field)
    const unusedBits = content[0] ?? 8
    const bytes = content.subarray(1)
    const last = bytes.at(-1)
    const spare = last === undefined ? unusedBits : last & (2 ** unusedBits - 1)
    if (unusedBits > 7 || spare !== 0)
      throw this.error('bad-value', field, 'is a BIT STRING whose unused bits are not 0 to 7 zeros', offset)
    return { unusedBits, bytes }
  }

  /** Dotted decimal: "2.5.29.15". */
  oid(field: string): string {
    const { content, offset } = this.read(TAG.oid, field)
    const text = content.length > MAX_OID_BYTES ? undefined : decodeOid(content)
    if (text === undefined)
      throw this.error(
        'bad-value',
        field,
        `is no OBJECT IDENTIFIER of at most ${MAX_OID_BYTES} bytes`,
        offset,
      )
    return text
  }

  /** UTCTime or GeneralizedTime in Zulu with seconds (RFC 5280, 4.1.2.5): years 1950 to 2049, or 0000 to 9999. */
  time(field: string): Date {
    const element = this.any(field)
    const date = decodeTime(element)
    if (date === undefined)
      throw this.error('bad-value', field, 'is no time as YYMMDDhhmmssZ or YYYYMMDDhhmmssZ', element.offset)
    return date
  }

  /** FormatError 'trailing-bytes' where something is left. */
  end(field: string): void {
    if (!this.done)
      throw this.error('trailing-bytes', field, `has ${this.#bytes.length - this.#position} bytes too many`)
  }

  error(
    code: FormatError['code'],
    field: string,
    problem: string,
    offset: number = this.offset,
  ): FormatError {
    const message = `cannot parse ${this.what} at 0x${offset.toString(16)}: ${field} ${problem}`
    return new FormatError(message, { code, field, offset })
  }

  #lengthAt(at: number, field: string): { length: number; contentStart: number } {
    const first = this.#byte(at, field)
    if (first < 0x80) return { length: first, contentStart: at + 1 }
    const count = first & 0x7f
    if (count === 0 || count > MAX_LENGTH_BYTES)
      throw this.error(
        'bad-value',
        field,
        `has a length of ${count} bytes, 1 to ${MAX_LENGTH_BYTES} are allowed`,
      )
    let length = 0
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte(at + 1 + index, field)
    if (length < 0x80 || length < 256 ** (count - 1))
      throw this.error('bad-value', field, `has its length ${length} in more bytes than it needs`)
    return { length, contentStart: at + 1 + count }
  }

  #byte(at: number, field: string): number {
    const value = this.#bytes[at]
    if (value === undefined)
      throw this.error('truncated', field, 'ends within its header', this.#base + this.#bytes.length)
    return value
  }
}

/** Undefined where a number is cut off, padded or above 2^49, which no assigned one is (X.690, 8.19). */
function decodeOid(content: Uint8Array): string | undefined {
  let text = ''
  let value = 0
  let fresh = true
  for (const byte of content) {
    if ((fresh && byte === 0x80) || value > 2 ** 42) return undefined
    value = value * 128 + (byte & 0x7f)
    fresh = byte < 0x80
    if (!fresh) continue
    text += text === '' ? firstArcs(value) : `.${value}`
    value = 0
  }
  return fresh && text !== '' ? text : undefined
}

/** The first number holds two: 40 times the first, which is 0, 1 or 2, and the second. */
function firstArcs(value: number): string {
  const first = Math.min(2, Math.floor(value / 40))
  return `${first}.${value - 40 * first}`
}

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const

function decodeTime({ tag, content }: DerElement): Date | undefined {
  const yearDigits = tag === TAG.utcTime ? 2 : tag === TAG.generalizedTime ? 4 : 0
  if (yearDigits === 0 || content.length !== yearDigits + 11 || content.at(-1) !== 0x5a) return undefined
  if (!content.subarray(0, -1).every((byte) => byte >= 0x30 && byte <= 0x39)) return undefined
  const two = (at: number): number => ((content[at] ?? 0) - 0x30) * 10 + (content[at + 1] ?? 0) - 0x30
  const century = yearDigits === 4 ? two(0) * 100 : two(0) >= 50 ? 1900 : 2000
  const year = century + two(yearDigits - 2)
  const [month, day] = [two(yearDigits), two(yearDigits + 2)]
  const [hour, minute, second] = [two(yearDigits + 4), two(yearDigits + 6), two(yearDigits + 8)]
  if (day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59) return undefined
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute, second)
  return date
}

/** 0 for a month that does not exist. */
function daysIn(year: number, month: number): number {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  return month === 2 && leap ? 29 : (DAYS[month - 1] ?? 0)
}

const hexByte = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`
