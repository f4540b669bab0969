/**
 * Finds every occurrence of many needles in one pass (Wu and Manber's algorithm, aligned to the needles' ends).
 *
 * The three bytes at a position tell how far the nearest end of a needle can be, so most bytes are never looked at:
 * with needles of eight bytes it moves about five bytes a step. ASCII letters match in either case, since hits are
 * only candidates that their owners check.
 */

/** Five bits of each of three bytes; upper and lower case letters share them. */
const HASH_BITS = 5
const HASH_MASK = (1 << HASH_BITS) - 1
const LONGEST_BLOCK = 3
/** Shifts are kept in bytes. */
const LONGEST_SHIFT = 255

const fold = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte)

export class NeedleSearch {
  /** Length of the shortest needle: no occurrence ends before so many bytes. */
  readonly shortest: number
  readonly #needles: readonly Uint8Array[]
  /** Bits of the hash that count: blocks are shorter where the shortest needle is. */
  readonly #mask: number
  readonly #shifts: Uint8Array
  /** Needles by the hash of their last block, longest first. */
  readonly #ending = new Map<number, number[]>()

  /** `needles`: at least one, none empty. */
  constructor(needles: readonly Uint8Array[]) {
    this.#needles = needles.map((needle) => needle.map(fold))
    this.shortest = needles.reduce((shortest, needle) => Math.min(shortest, needle.length), LONGEST_SHIFT)
    const block = Math.min(LONGEST_BLOCK, this.shortest)
    this.#mask = (1 << (HASH_BITS * block)) - 1
    this.#shifts = new Uint8Array(this.#mask + 1).fill(this.shortest - block + 1)
    for (const [index, needle] of this.#needles.entries()) this.#enter(index, needle, block)
    for (const ending of this.#ending.values()) {
      ending.sort((a, b) => (this.#needles[b]?.length ?? 0) - (this.#needles[a]?.length ?? 0))
    }
  }

  /**
   * Looks for needles whose last byte lies in `bytes[from..to)` and that begin at or after `lowest`. Returns where
   * to go on: at or after `to`, which the next call must pass as `from`.
   */
  scan(
    bytes: Uint8Array,
    range: { readonly from: number; readonly to: number; readonly lowest: number },
    onHit: (needle: number, end: number) => void,
  ): number {
    const shifts = this.#shifts
    const mask = this.#mask
    const to = range.to
    let index = Math.max(range.from, range.lowest + this.shortest - 1)
    while (index < to) {
      const hash = blockHash(bytes, index) & mask
      const shift = shifts[hash] as number
      if (shift !== 0) index += shift
      else {
        this.#verify(bytes, { index, hash, lowest: range.lowest }, onHit)
        index += 1
      }
    }
    return index
  }

  #enter(index: number, needle: Uint8Array, block: number): void {
    const suffix = needle.length - this.shortest
    for (let at = suffix + block - 1; at < needle.length; at++) {
      const hash = blockHash(needle, at) & this.#mask
      this.#shifts[hash] = Math.min(this.#shifts[hash] as number, needle.length - 1 - at)
    }
    const hash = blockHash(needle, needle.length - 1) & this.#mask
    const ending = this.#ending.get(hash)
    if (ending) ending.push(index)
    else this.#ending.set(hash, [index])
  }

  #verify(
    bytes: Uint8Array,
    at: { readonly index: number; readonly hash: number; readonly lowest: number },
    onHit: (needle: number, end: number) => void,
  ): void {
    const end = at.index + 1
    for (const number of this.#ending.get(at.hash) ?? []) {
      const needle = this.#needles[number] as Uint8Array
      const start = end - needle.length
      if (start >= at.lowest && equalsFolded(bytes, start, needle)) onHit(number, end)
    }
  }
}

function blockHash(bytes: Uint8Array, end: number): number {
  return (
    (((bytes[end - 2] as number) & HASH_MASK) << (2 * HASH_BITS)) |
    (((bytes[end - 1] as number) & HASH_MASK) << HASH_BITS) |
    ((bytes[end] as number) & HASH_MASK)
  )
}

function equalsFolded(bytes: Uint8Array, start: number, needle: Uint8Array): boolean {
  for (let index = 0; index < needle.length; index++) {
    if (fold(bytes[start + index] as number) !== needle[index]) return false
  }
  return true
}
