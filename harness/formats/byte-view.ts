import { ByteReader } from '../base/bytes.ts'
import type { FormatError } from '../base/errors.ts'

/**
 * Random access to untrusted bytes, for formats that point around in themselves. Little-endian; every read is
 * bounds-checked and names the field it was for. Its methods throw FormatError `truncated` with field and offset.
 */
export class ByteView {
  readonly bytes: Uint8Array
  readonly #reader: ByteReader

  /** `what` names the structure in messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes
    this.#reader = new ByteReader(bytes, { what })
  }

  get length(): number {
    return this.bytes.length
  }

  u8(offset: number, field: string): number {
    return this.#at(offset, field).u8(field)
  }

  u16(offset: number, field: string): number {
    return this.#at(offset, field).u16le(field)
  }

  u32(offset: number, field: string): number {
    return this.#at(offset, field).u32le(field)
  }

  /** Throws FormatError `too-large` above 2^53 - 1: nothing that we read can be that long. */
  u64(offset: number, field: string): number {
    const value = this.#at(offset, field).u64le(field)
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.error(`is ${value}, at most 2^53 - 1 is supported`, { code: 'too-large', field, offset })
    return Number(value)
  }

  slice(offset: number, length: number, field: string): Uint8Array {
    return this.#at(offset, field).bytes(length, field)
  }

  /** ASCII text up to the first NUL, within `length` bytes. */
  text(offset: number, length: number, field: string): string {
    const bytes = this.slice(offset, length, field)
    const end = bytes.indexOf(0)
    return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1')
  }

  error(
    problem: string,
    { code, field, offset }: { code: FormatError['code']; field: string; offset: number },
  ): FormatError {
    return this.#reader.error(code, field, problem, offset)
  }

  #at(offset: number, field: string): ByteReader {
    this.#reader.seek(offset, field)
    return this.#reader
  }
}
