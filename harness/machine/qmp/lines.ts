/** The longest line that is accepted: QEMU's schema, its longest answer, has about 300 KB. */
const QMP_LINE_BYTES = 8 * 1024 * 1024

const LINE_FEED = 0x0a

/** Splits a byte stream into lines; linear in the number of bytes however they are cut up. */
export class LineSplitter {
  readonly #limit: number
  #parts: Buffer[] = []
  #length = 0

  constructor(limit = QMP_LINE_BYTES) {
    this.#limit = limit
  }

  /** The lines that `chunk` completes, without their line feed. Throws RangeError beyond the limit. */
  *push(chunk: Buffer): Generator<string> {
    let start = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      this.#keep(chunk.subarray(start, end))
      start = end + 1
      yield this.#take()
    }
    this.#keep(chunk.subarray(start))
  }

  #keep(part: Buffer): void {
    this.#length += part.length
    if (this.#length > this.#limit) throw new RangeError(`a line of more than ${this.#limit} bytes`)
    if (part.length > 0) this.#parts.push(part)
  }

  #take(): string {
    const line = Buffer.concat(this.#parts).toString('utf8')
    this.#parts = []
    this.#length = 0
    return line
  }
}
