/**
 * Turns what a serial console carries into plain lines of text: escape sequences removed, CR LF made LF, NULs and
 * other controls dropped. It works on any cut of the stream into chunks, and nothing a guest sends makes it keep
 * more than a few bytes of state.
 *
 * A sequence that a line feed or its length cuts short was none: what it held comes out as text, so that a kernel
 * message which the kernel put into the middle of a sequence is seen all the same.
 */

const NUL_TO_DROP = 0
const PLAIN = 1

const LF = 0x0a
const CR = 0x0d
const BEL = 0x07
const ESC = 0x1b
const CAN = 0x18
const SUB = 0x1a

/** Bytes that pass untouched while no sequence is open. */
const CLASS = new Uint8Array(256).fill(PLAIN)
CLASS.fill(NUL_TO_DROP, 0, 0x20)
CLASS[0x09] = PLAIN
CLASS[LF] = PLAIN
CLASS[0x7f] = NUL_TO_DROP

/** Longest control sequence (CSI) and string (OSC, DCS, ...) that is skipped; systemd's OSC 3008 has some 500 bytes. */
const MAX_CONTROL_SEQUENCE = 256
const MAX_CONTROL_STRING = 4096

/** `write` gives at most so many bytes more than it was given. */
export const MOST_EXTRA_BYTES = MAX_CONTROL_STRING + 2

type State = 'ground' | 'carriage-return' | 'escape' | 'intermediate' | 'control' | 'string' | 'string-escape'

/** CSI final bytes that move to another line: E, F, H, f. Firmware draws with them, so they end a line. */
const MOVES = new Set([0x45, 0x46, 0x48, 0x66])
/** Bytes after ESC that open a string: P (DCS), X (SOS), ] (OSC), ^ (PM), _ (APC). */
const OPENS_STRING = new Set([0x50, 0x58, 0x5d, 0x5e, 0x5f])

export class ConsoleText {
  #state: State = 'ground'
  /** What the open sequence holds so far. */
  readonly #held = new Uint8Array(MAX_CONTROL_STRING + 1)
  #heldLength = 0
  #lastWritten = LF

  /**
   * Writes the plain text of `chunk` into `target` from `offset` and returns how many bytes that were: at most
   * `chunk.length + MOST_EXTRA_BYTES`, which must fit.
   */
  write(chunk: Uint8Array, target: Uint8Array, offset: number): number {
    const source = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length)
    let out = offset
    let index = 0
    while (index < source.length) {
      if (this.#state === 'ground') {
        const end = plainEnd(source, view, index)
        if (end > index) {
          copyRun(source, { from: index, to: end }, target, out)
          out += end - index
          this.#lastWritten = source[end - 1] as number
        }
        index = skipCommon(source, end)
        if (index > end || index === source.length) continue
      }
      out = this.#step(source[index++] as number, target, out)
    }
    return out - offset
  }

  #step(byte: number, target: Uint8Array, out: number): number {
    switch (this.#state) {
      case 'ground':
        return this.#ground(byte, target, out)
      case 'carriage-return':
        if (byte === CR || byte === 0) return out
        this.#state = 'ground'
        // A bare CR starts the line again, as progress displays do: that too is a new line of text.
        return this.#ground(byte, target, byte === LF ? out : this.#newline(target, out))
      default:
        return this.#inSequence(byte, target, out)
    }
  }

  #ground(byte: number, target: Uint8Array, out: number): number {
    if (byte === ESC) this.#open('escape')
    else if (byte === CR) this.#state = 'carriage-return'
    else if (CLASS[byte] === PLAIN) {
      target[out] = byte
      this.#lastWritten = byte
      return out + 1
    }
    return out
  }

  #inSequence(byte: number, target: Uint8Array, out: number): number {
    if (byte === LF || byte === CR) return this.#ground(byte, target, this.#spill(target, out))
    if (byte === ESC) {
      if (this.#state === 'string') {
        this.#state = 'string-escape'
        return out
      }
      const spilled = this.#spill(target, out)
      this.#open('escape')
      return spilled
    }
    if (byte === CAN || byte === SUB) {
      this.#state = 'ground'
      return out
    }
    if (this.#state === 'control') return this.#control(byte, target, out)
    if (this.#state !== 'string') return this.#escape(byte, target, out)
    if (byte === BEL) this.#state = 'ground'
    else if (this.#hold(byte) > MAX_CONTROL_STRING) return this.#spill(target, out)
    return out
  }

  /** After ESC, or after ESC inside a string, where only `\` ends the string. */
  #escape(byte: number, target: Uint8Array, out: number): number {
    if (this.#state === 'string-escape') {
      if (byte === 0x5c) {
        this.#state = 'ground'
        return out
      }
      const spilled = this.#spill(target, out)
      this.#open('escape')
      return this.#escape(byte, target, spilled)
    }
    if (byte >= 0x20 && byte <= 0x2f && this.#hold(byte) < MAX_CONTROL_SEQUENCE) this.#state = 'intermediate'
    else if (this.#state === 'escape' && byte === 0x5b) this.#open('control')
    else if (this.#state === 'escape' && OPENS_STRING.has(byte)) this.#open('string')
    else if (byte >= 0x80) return this.#ground(byte, target, this.#spill(target, out))
    else this.#state = 'ground'
    return out
  }

  #control(byte: number, target: Uint8Array, out: number): number {
    if (byte >= 0x40 && byte <= 0x7e) {
      this.#state = 'ground'
      return MOVES.has(byte) ? this.#newline(target, out) : out
    }
    if (byte >= 0x80) return this.#ground(byte, target, this.#spill(target, out))
    return this.#hold(byte) > MAX_CONTROL_SEQUENCE ? this.#spill(target, out) : out
  }

  #open(state: State): void {
    this.#state = state
    this.#heldLength = 0
  }

  #hold(byte: number): number {
    this.#held[this.#heldLength++] = byte
    return this.#heldLength
  }

  /** Gives up the open sequence: what it held is text. */
  #spill(target: Uint8Array, offset: number): number {
    let out = offset
    for (let index = 0; index < this.#heldLength; index++) {
      const byte = this.#held[index] as number
      if (CLASS[byte] === PLAIN) target[out++] = byte
    }
    if (out > offset) this.#lastWritten = target[out - 1] as number
    this.#open('ground')
    return out
  }

  #newline(target: Uint8Array, out: number): number {
    if (this.#lastWritten === LF) return out
    target[out] = LF
    this.#lastWritten = LF
    return out + 1
  }
}

/** Where the plain bytes from `start` on end. Four bytes at a time: this decides how fast a console is read. */
function plainEnd(bytes: Uint8Array, view: DataView, start: number): number {
  const length = bytes.length
  let index = start
  for (;;) {
    for (; index + 4 <= length; index += 4) {
      const four = view.getInt32(index, true)
      const deletes = four ^ 0x7f7f7f7f
      // The classical test for a byte below 0x20, and for a zero byte, in a word.
      const controls = (four - 0x20202020) & ~four
      if (((controls | ((deletes - 0x01010101) & ~deletes)) & 0x80808080) !== 0) break
    }
    // A control is near; the allowed ones, line feed and tab, do not end the run.
    const near = Math.min(index + 4, length)
    for (; index < near; index++) if (CLASS[bytes[index] as number] !== PLAIN) return index
    if (index >= length) return index
  }
}

function copyRun(
  source: Buffer,
  run: { readonly from: number; readonly to: number },
  target: Uint8Array,
  offset: number,
): void {
  if (run.to - run.from > 48) source.copy(target, offset, run.from, run.to)
  else for (let from = run.from, to = offset; from < run.to; ) target[to++] = source[from++] as number
}

/**
 * Skips what most often interrupts plain text, where it is whole in this chunk: the CR of a CR LF, a control
 * sequence that does not move to another line, and controls that mean nothing. Returns `start` for anything else.
 */
function skipCommon(bytes: Uint8Array, start: number): number {
  const first = bytes[start]
  const second = bytes[start + 1]
  if (first === CR) return second === LF ? start + 1 : start
  if (first !== ESC) return skipDropped(bytes, start)
  if (second !== 0x5b) return start
  const limit = Math.min(bytes.length, start + MAX_CONTROL_SEQUENCE)
  for (let index = start + 2; index < limit; index++) {
    const byte = bytes[index] as number
    if (byte >= 0x40 && byte <= 0x7e) return MOVES.has(byte) ? start : index + 1
    if (byte < 0x20 || byte >= 0x7f) return start
  }
  return start
}

function skipDropped(bytes: Uint8Array, start: number): number {
  let index = start
  for (; index < bytes.length; index++) {
    const byte = bytes[index] as number
    if (byte === ESC || byte === CR || CLASS[byte] === PLAIN) break
  }
  return index
}
