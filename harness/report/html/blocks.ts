/**
 * The data of the page: JSON, deflated, base64. The index is a block of its own; details lie in blocks of several runs,
 * since consoles of one scenario are alike, and few enough that one opens in some milliseconds.
 */
import { deflateRawSync } from 'node:zlib'

export interface Block {
  readonly id: string
  readonly base64: string
}

export function pack(id: string, value: unknown): Block {
  const json = JSON.stringify(value)
  return { id, base64: deflateRawSync(json, { level: 9 }).toString('base64') }
}

/** Characters of JSON after which a block is full. */
const FULL = 256 * 1024

/** Collects values into blocks, and says where each one is. */
export class BlockWriter {
  readonly #onBlock: (block: Block) => void
  #texts: string[] = []
  #size = 0
  #count = 0

  constructor(onBlock: (block: Block) => void) {
    this.#onBlock = onBlock
  }

  add(value: unknown): readonly [block: number, index: number] {
    const text = JSON.stringify(value)
    const place = [this.#count, this.#texts.length] as const
    this.#texts.push(text)
    this.#size += text.length
    if (this.#size >= FULL) this.flush()
    return place
  }

  flush(): void {
    if (this.#texts.length === 0) return
    const json = `[${this.#texts.join(',')}]`
    const base64 = deflateRawSync(json, { level: 9 }).toString('base64')
    this.#onBlock({ id: `block-${this.#count}`, base64 })
    this.#texts = []
    this.#size = 0
    this.#count += 1
  }
}
