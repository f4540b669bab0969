/**
 * LZMA1 with the 13-byte header of .lzma files, for reading: how EDK II compresses firmware volumes. LZMA specification
 * (Igor Pavlov, draft of 2015): a range coder over bits with adaptive probabilities, and a history of 4 distances.
 */
import { ByteView } from './byte-view.ts'

const HEADER_BYTES = 13
/** Firmware is a few MiB; bounds what a hostile header makes us allocate. */
const MAX_OUTPUT_BYTES = 0x800_0000
const UNKNOWN_SIZE = Number.MAX_SAFE_INTEGER

const PROBABILITY_BITS = 11
const INITIAL = 1 << (PROBABILITY_BITS - 1)
const MOVE_BITS = 5
const TOP = 2 ** 24

const STATES = 12
const POSITION_STATES = 16
const FIRST_LITERAL_STATE = 7
const LENGTH_TO_POSITION_STATES = 4
const END_POSITION_MODEL = 14
const FULL_DISTANCES = 128
const ALIGN_BITS = 4
const MIN_MATCH = 2

/**
 * Decompressed bytes. Throws FormatError for a header that is not valid and for a stream that is damaged or cut off.
 * LZMA specification (Igor Pavlov, draft of 2015): 13 bytes of header.
 */
export function decompressLzma(file: Uint8Array): Buffer {
  const view = new ByteView(file, 'LZMA stream')
  const properties = view.u8(0, 'properties')
  if (properties >= 9 * 5 * 5)
    throw view.error(`is ${properties}, at most ${9 * 5 * 5 - 1} is allowed`, {
      code: 'bad-value',
      field: 'properties',
      offset: 0,
    })
  const size = outputSize(view)
  view.slice(0, HEADER_BYTES + 5, 'range coder')
  const decoder = new Decoder(file, {
    literalContext: properties % 9,
    literalPosition: Math.floor(properties / 9) % 5,
    position: Math.floor(properties / 45),
  })
  const output = Buffer.alloc(size)
  const damaged = decoder.run(output)
  if (damaged === undefined) return output
  throw view.error(damaged.problem, {
    code: damaged.code,
    field: 'compressed data',
    offset: Math.min(decoder.offset, file.length),
  })
}

function outputSize(view: ByteView): number {
  const low = view.u32(5, 'uncompressed size')
  const high = view.u32(9, 'uncompressed size')
  const size = high === 0 ? low : UNKNOWN_SIZE
  if (size <= MAX_OUTPUT_BYTES) return size
  throw view.error(`is not given or above ${MAX_OUTPUT_BYTES} bytes, which is the most supported`, {
    code: 'too-large',
    field: 'uncompressed size',
    offset: 5,
  })
}

interface Properties {
  /** lc, lp and pb of the specification, in bits. */
  readonly literalContext: number
  readonly literalPosition: number
  readonly position: number
}

interface Damage {
  readonly code: 'truncated' | 'bad-value'
  readonly problem: string
}

/** Probabilities of a length: short, middle and long, the first two for each position state. */
class LengthModel {
  readonly choice = probabilities(2)
  readonly low = probabilities(POSITION_STATES << 3)
  readonly middle = probabilities(POSITION_STATES << 3)
  readonly high = probabilities(1 << 8)
}

class Decoder {
  offset = HEADER_BYTES + 5
  readonly #input: Uint8Array
  readonly #properties: Properties
  #range = 0xffff_ffff
  #code: number
  readonly #literals: Uint16Array
  readonly #isMatch = probabilities(STATES * POSITION_STATES)
  readonly #isRepeat = probabilities(STATES)
  readonly #isRepeat0 = probabilities(STATES)
  readonly #isRepeat1 = probabilities(STATES)
  readonly #isRepeat2 = probabilities(STATES)
  readonly #isRepeat0Long = probabilities(STATES * POSITION_STATES)
  readonly #slots = probabilities(LENGTH_TO_POSITION_STATES << 6)
  readonly #distances = probabilities(FULL_DISTANCES)
  readonly #align = probabilities(1 << ALIGN_BITS)
  readonly #matchLength = new LengthModel()
  readonly #repeatLength = new LengthModel()

  constructor(input: Uint8Array, properties: Properties) {
    this.#input = input
    this.#properties = properties
    this.#literals = probabilities(0x300 << (properties.literalContext + properties.literalPosition))
    // The first byte of the coder is 0 in a valid stream; the next four are its code.
    this.#code = Buffer.from(input.buffer, input.byteOffset, input.length).readUInt32BE(HEADER_BYTES + 1)
  }

  /** Fills `output`; undefined where that worked. */
  run(output: Uint8Array): Damage | undefined {
    const positionMask = (1 << this.#properties.position) - 1
    const history = [0, 0, 0, 0]
    let state = 0
    let at = 0
    while (at < output.length) {
      if (this.offset > this.#input.length)
        return { code: 'truncated', problem: `ends after ${at} of ${output.length} bytes` }
      const positionState = at & positionMask
      if (this.#bit(this.#isMatch, state * POSITION_STATES + positionState) === 0) {
        output[at] = this.#literal(output, at, state, history[0] ?? 0)
        at += 1
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6
        continue
      }
      let length: number
      if (this.#bit(this.#isRepeat, state) === 0) {
        length = this.#length(this.#matchLength, positionState)
        const distance = this.#distance(length)
        if (distance === 0xffff_ffff)
          return { code: 'truncated', problem: `ends itself after ${at} of ${output.length} bytes` }
        history.unshift(distance)
        history.pop()
        state = state < FIRST_LITERAL_STATE ? 7 : 10
      } else if (this.#repeatsShort(state, positionState, history)) {
        length = 1 - MIN_MATCH
        state = state < FIRST_LITERAL_STATE ? 9 : 11
      } else {
        length = this.#length(this.#repeatLength, positionState)
        state = state < FIRST_LITERAL_STATE ? 8 : 11
      }
      const from = at - (history[0] ?? 0) - 1
      if (from < 0) return { code: 'bad-value', problem: `copies from ${-from} bytes before the start` }
      const end = Math.min(at + length + MIN_MATCH, output.length)
      for (let source = from; at < end; ) output[at++] = output[source++] ?? 0
    }
    return undefined
  }

  /** Moves the distance that is repeated to the front; true for a repetition of a single byte. */
  #repeatsShort(state: number, positionState: number, history: number[]): boolean {
    if (this.#bit(this.#isRepeat0, state) === 0)
      return this.#bit(this.#isRepeat0Long, state * POSITION_STATES + positionState) === 0
    const index =
      this.#bit(this.#isRepeat1, state) === 0 ? 1 : this.#bit(this.#isRepeat2, state) === 0 ? 2 : 3
    const [distance = 0] = history.splice(index, 1)
    history.unshift(distance)
    return false
  }

  #literal(output: Uint8Array, at: number, state: number, distance: number): number {
    const { literalContext, literalPosition } = this.#properties
    const previous = at > 0 ? (output[at - 1] ?? 0) : 0
    const context =
      ((at & ((1 << literalPosition) - 1)) << literalContext) + (previous >> (8 - literalContext))
    const base = 0x300 * context
    let symbol = 1
    if (state >= FIRST_LITERAL_STATE && at > distance) {
      let match = output[at - distance - 1] ?? 0
      while (symbol < 0x100) {
        const matchBit = match >> 7
        match = (match << 1) & 0xff
        const bit = this.#bit(this.#literals, base + ((1 + matchBit) << 8) + symbol)
        symbol = (symbol << 1) | bit
        if (matchBit !== bit) break
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(this.#literals, base + symbol)
    return symbol & 0xff
  }

  /** Less MIN_MATCH. */
  #length(model: LengthModel, positionState: number): number {
    if (this.#bit(model.choice, 0) === 0) return this.#tree(model.low, positionState << 3, 3)
    if (this.#bit(model.choice, 1) === 0) return 8 + this.#tree(model.middle, positionState << 3, 3)
    return 16 + this.#tree(model.high, 0, 8)
  }

  /** Less 1; 0xffffffff ends the stream. */
  #distance(length: number): number {
    const slots = Math.min(length, LENGTH_TO_POSITION_STATES - 1) << 6
    const slot = this.#tree(this.#slots, slots, 6)
    if (slot < 4) return slot
    const bits = (slot >> 1) - 1
    const high = (2 | (slot & 1)) * 2 ** bits
    if (slot < END_POSITION_MODEL) return high + this.#reverseTree(this.#distances, high - slot, bits)
    const direct = this.#direct(bits - ALIGN_BITS) * 2 ** ALIGN_BITS
    return high + direct + this.#reverseTree(this.#align, 0, ALIGN_BITS)
  }

  #tree(model: Uint16Array, base: number, bits: number): number {
    let symbol = 1
    for (let count = 0; count < bits; count++) symbol = (symbol << 1) | this.#bit(model, base + symbol)
    return symbol - (1 << bits)
  }

  #reverseTree(model: Uint16Array, base: number, bits: number): number {
    let node = 1
    let value = 0
    for (let count = 0; count < bits; count++) {
      const bit = this.#bit(model, base + node)
      node = (node << 1) | bit
      value |= bit << count
    }
    return value
  }

  #direct(bits: number): number {
    let value = 0
    for (let count = 0; count < bits; count++) {
      this.#range >>>= 1
      const bit = this.#code >= this.#range ? 1 : 0
      if (bit === 1) this.#code -= this.#range
      value = value * 2 + bit
      this.#refill()
    }
    return value
  }

  #bit(model: Uint16Array, index: number): number {
    const probability = model[index] ?? INITIAL
    const bound = (this.#range >>> PROBABILITY_BITS) * probability
    let bit = 0
    if (this.#code < bound) {
      this.#range = bound
      model[index] = probability + (((1 << PROBABILITY_BITS) - probability) >> MOVE_BITS)
    } else {
      this.#range -= bound
      this.#code -= bound
      model[index] = probability - (probability >> MOVE_BITS)
      bit = 1
    }
    this.#refill()
    return bit
  }

  #refill(): void {
    if (this.#range >= TOP) return
    this.#range = (this.#range << 8) >>> 0
    // Past the end zeros are read; the loop above sees the offset and stops.
    this.#code = ((this.#code << 8) | (this.#input[this.offset] ?? 0)) >>> 0
    this.offset += 1
  }
}

function probabilities(count: number): Uint16Array {
  return new Uint16Array(count).fill(INITIAL)
}
