/** One of several parts of a plan, for machines that share the work. */
import { createHash } from 'node:crypto'

export interface Asked {
  /** Of a point of the plan. */
  readonly asked: string
}

/** `index` from 1 to `count`. */
export interface Shard {
  readonly index: number
  readonly count: number
}

/**
 * Whether the shard has the variant. It depends on nothing but what was asked for, so a variant that is added to a
 * matrix moves no other one to another machine, and machines that choose otherwise lose none between them.
 */
export function isInShard({ asked }: Asked, { index, count }: Shard): boolean {
  return createHash('sha256').update(asked).digest().readUInt32BE(0) % count === index - 1
}
