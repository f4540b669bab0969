import { isUtf8 } from 'node:buffer'

const LF = 0x0a

/** Bytes of a line that are looked at on either side of a hit; longer lines are seen in pieces. */
export const LINE_REACH = 8192

/** A part of the stream, by absolute byte offsets: `start` inclusive, `end` exclusive. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** Decoded text of a span: characters by index, and where in the stream they begin. */
export interface SpanText {
  readonly text: string
  offsetOf(index: number): number
  indexOf(offset: number): number
}

/** The last part of the plain text, addressed by offsets in the whole stream. Memory: twice `capacity`. */
export class TextWindow {
  readonly buffer: Buffer
  /** Offset in the stream of `buffer[0]`. */
  base = 0
  #used = 0
  readonly #capacity: number

  constructor(capacity: number) {
    this.#capacity = capacity
    this.buffer = Buffer.alloc(capacity * 2)
  }

  /** Offset of the oldest byte that is still there. */
  get start(): number {
    return this.base
  }

  /** Offset after the newest byte. */
  get end(): number {
    return this.base + this.#used
  }

  /** Makes room for `length` more bytes and returns the index in `buffer` where they go. */
  reserve(length: number): number {
    if (this.#used + length > this.buffer.length) {
      const dropped = this.#used - this.#capacity
      this.buffer.copyWithin(0, dropped, this.#used)
      this.base += dropped
      this.#used = this.#capacity
    }
    return this.#used
  }

  /** Counts bytes in that were written at the index `reserve` gave. */
  commit(length: number): void {
    this.#used += length
  }

  bytes(span: Span): Buffer {
    return this.buffer.subarray(Math.max(0, span.start - this.base), Math.max(0, span.end - this.base))
  }

  /** Offset after the last line feed before `offset`, at most LINE_REACH back. */
  lineStart(offset: number): number {
    const earliest = Math.max(this.base, offset - LINE_REACH)
    const found = this.bytes({ start: earliest, end: offset }).lastIndexOf(LF)
    return earliest + found + 1
  }

  /**
   * Where the line of which `offset` is a part ends: at its line feed or LINE_REACH after `offset`, whichever
   * comes first. Undefined while that is not known. `from`: no line feed lies before it.
   */
  lineEnd(offset: number, from: number = offset): number | undefined {
    const limit = offset + LINE_REACH
    const last = Math.min(limit, this.end)
    const found = this.bytes({ start: from, end: last }).indexOf(LF)
    if (found >= 0) return from + found
    return limit <= this.end ? limit : undefined
  }

  /**
   * The text of a span. Bytes that are no UTF-8 are read as Latin-1: one character a byte, whatever the guest
   * sends.
   */
  text(span: Span): SpanText {
    const bytes = this.bytes(span)
    const start = Math.max(span.start, this.base)
    const valid = isUtf8(bytes)
    const text = bytes.toString(valid ? 'utf8' : 'latin1')
    if (text.length === bytes.length) {
      return { text, offsetOf: (index) => start + index, indexOf: (offset) => offset - start }
    }
    return {
      text,
      offsetOf: (index) => start + Buffer.byteLength(text.slice(0, index)),
      indexOf: (offset) => bytes.toString('utf8', 0, offset - start).length,
    }
  }
}
