/** A generator whose whole sequence follows from its seed, so that a finding can be had again. */
export class Random {
  #state: number

  /** `seed`: 32 bits. */
  constructor(seed: number) {
    // Zero would stay zero for ever.
    this.#state = seed >>> 0 || 0x9e37_79b9
  }

  /** 32 bits: xorshift32. */
  u32(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state >>> 0
    return this.#state
  }

  /** 0 to `limit` - 1; 0 where `limit` is below 1. */
  below(limit: number): number {
    return limit < 1 ? 0 : this.u32() % limit
  }

  /** One of `items`, which must not be empty. */
  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new RangeError('cannot pick from nothing')
    return item
  }
}
