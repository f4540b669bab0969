import { FormatError } from './errors.ts'

/** Reads and writes bytes with every access checked; errors name the field and its offset. */

const hex = (offset: number): string => `0x${offset.toString(16)}`

export interface ReaderOptions {
  /** What is being parsed, for messages: "SNP report". */
  readonly what: string
  /** Offset of the first byte in the outermost structure, so that messages give offsets a person can look up. */
  readonly base?: number
}

/**
 * A cursor over bytes. Every method takes the field's name as the specification spells it and throws
 * FormatError 'truncated' where the bytes end before the field does.
 */
export class ByteReader {
  readonly what: string
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #base: number
  #position = 0

  constructor(bytes: Uint8Array, options: ReaderOptions) {
    this.what = options.what
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#base = options.base ?? 0
  }

  /** Offset of the next byte in the outermost structure. */
  get offset(): number {
    return this.#base + this.#position
  }

  /** Bytes from the start of this reader to the next byte. */
  get position(): number {
    return this.#position
  }

  get length(): number {
    return this.#bytes.length
  }

  get remaining(): number {
    return this.#bytes.length - this.#position
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#take(1, field))
  }

  u16le(field: string): number {
    return this.#view.getUint16(this.#take(2, field), true)
  }

  u16be(field: string): number {
    return this.#view.getUint16(this.#take(2, field), false)
  }

  u32le(field: string): number {
    return this.#view.getUint32(this.#take(4, field), true)
  }

  u32be(field: string): number {
    return this.#view.getUint32(this.#take(4, field), false)
  }

  u64le(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field), true)
  }

  u64be(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field), false)
  }

  /** The next `length` bytes, as a view of the input: no copy is made. */
  bytes(length: number, field: string): Uint8Array {
    const start = this.#take(length, field)
    return this.#bytes.subarray(start, start + length)
  }

  /** All bytes that are left, possibly none. */
  rest(): Uint8Array {
    return this.bytes(this.remaining, 'rest')
  }

  /** A reader of its own over the next `length` bytes; its messages give offsets in the outermost structure. */
  sub(length: number, field: string, what: string = this.what): ByteReader {
    const base = this.offset
    return new ByteReader(this.bytes(length, field), { what, base })
  }

  skip(length: number, field: string): void {
    this.#take(length, field)
  }

  /** Goes to a position counted from the start of this reader; the end itself is allowed. */
  seek(position: number, field: string): void {
    if (!Number.isSafeInteger(position) || position < 0 || position > this.#bytes.length) {
      throw this.error('truncated', field, `lies at ${position}, the bytes end at ${this.#bytes.length}`)
    }
    this.#position = position
  }

  /** FormatError 'reserved-bit' where one of the next `length` bytes is not zero. */
  mustBeZero(length: number, field: string): void {
    const start = this.offset
    const index = this.bytes(length, field).findIndex((byte) => byte !== 0)
    if (index >= 0) throw this.error('reserved-bit', field, 'must be zero', start + index)
  }

  /** FormatError 'bad-magic' where the next bytes are not `expected`. */
  magic(expected: Uint8Array, field: string): void {
    const start = this.offset
    const got = Buffer.from(this.bytes(expected.length, field)).toString('hex')
    const wanted = Buffer.from(expected).toString('hex')
    if (got !== wanted) throw this.error('bad-magic', field, `is ${got}, must be ${wanted}`, start)
  }

  /** FormatError 'trailing-bytes' where something is left. */
  end(): void {
    if (this.remaining > 0) throw this.error('trailing-bytes', 'end', `${this.remaining} bytes are left over`)
  }

  /** A FormatError about `field`, for checks that only the caller can make. */
  error(
    code: FormatError['code'],
    field: string,
    problem: string,
    offset: number = this.offset,
  ): FormatError {
    return new FormatError(`cannot parse ${this.what} at ${hex(offset)}: ${field} ${problem}`, {
      code,
      field,
      offset,
    })
  }

  #take(length: number, field: string): number {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw this.error('bad-value', field, `has the impossible length ${length}`)
    }
    if (length > this.remaining) {
      throw this.error('truncated', field, `needs ${length} bytes, ${this.remaining} remain`)
    }
    const start = this.#position
    this.#position += length
    return start
  }
}

export interface WriterOptions {
  /** What is being encoded, for messages. */
  readonly what: string
}

/** Appends fields; FormatError 'bad-value' where a value does not fit its field. */
export class ByteWriter {
  readonly what: string
  #buffer = Buffer.alloc(256)
  #length = 0

  constructor(options: WriterOptions) {
    this.what = options.what
  }

  get length(): number {
    return this.#length
  }

  u8(value: number, field: string): this {
    const at = this.#reserveFor(value, 1, field)
    this.#buffer.writeUInt8(value, at)
    return this
  }

  u16le(value: number, field: string): this {
    const at = this.#reserveFor(value, 2, field)
    this.#buffer.writeUInt16LE(value, at)
    return this
  }

  u16be(value: number, field: string): this {
    const at = this.#reserveFor(value, 2, field)
    this.#buffer.writeUInt16BE(value, at)
    return this
  }

  u32le(value: number, field: string): this {
    const at = this.#reserveFor(value, 4, field)
    this.#buffer.writeUInt32LE(value, at)
    return this
  }

  u32be(value: number, field: string): this {
    const at = this.#reserveFor(value, 4, field)
    this.#buffer.writeUInt32BE(value, at)
    return this
  }

  u64le(value: bigint, field: string): this {
    const at = this.#reserveForBigint(value, field)
    this.#buffer.writeBigUInt64LE(value, at)
    return this
  }

  u64be(value: bigint, field: string): this {
    const at = this.#reserveForBigint(value, field)
    this.#buffer.writeBigUInt64BE(value, at)
    return this
  }

  /** Appends bytes; with `length` they must be exactly that many. */
  bytes(value: Uint8Array, field: string, length: number = value.length): this {
    if (value.length !== length) throw this.#error(field, `has ${value.length} bytes, must have ${length}`)
    const at = this.#reserve(length)
    this.#buffer.set(value, at)
    return this
  }

  zeros(length: number): this {
    const start = this.#reserve(length)
    this.#buffer.fill(0, start, start + length)
    return this
  }

  /** Pads with zeros so that the length becomes a multiple of `alignment`. */
  align(alignment: number): this {
    return this.zeros((alignment - (this.#length % alignment)) % alignment)
  }

  /** Overwrites bytes written before, such as a length that is known only at the end. */
  patch(offset: number, value: Uint8Array, field: string): this {
    if (offset < 0 || offset + value.length > this.#length) {
      throw this.#error(field, `at ${hex(offset)} reaches past the ${this.#length} bytes written`)
    }
    this.#buffer.set(value, offset)
    return this
  }

  /** A copy of what was written. */
  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#length))
  }

  /** Reserves first: growing replaces the buffer, so callers must not hold it across this call. */
  #reserveFor(value: number, length: number, field: string): number {
    const largest = 2 ** (8 * length) - 1
    if (!Number.isInteger(value) || value < 0 || value > largest) {
      throw this.#error(field, `is ${value}, must be an integer from 0 to ${largest}`)
    }
    return this.#reserve(length)
  }

  #reserveForBigint(value: bigint, field: string): number {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw this.#error(field, `is ${value}, must fit 64 bits`)
    }
    return this.#reserve(8)
  }

  #reserve(length: number): number {
    const start = this.#length
    this.#length += length
    if (this.#length > this.#buffer.length) {
      const grown = Buffer.alloc(Math.max(this.#length, this.#buffer.length * 2))
      grown.set(this.#buffer)
      this.#buffer = grown
    }
    return start
  }

  #error(field: string, problem: string): FormatError {
    return new FormatError(`cannot encode ${this.what} at ${hex(this.#length)}: ${field} ${problem}`, {
      code: 'bad-value',
      field,
      offset: this.#length,
    })
  }
}
