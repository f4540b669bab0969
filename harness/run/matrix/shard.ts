/** One of several parts of a plan, for machines that share the work. */
import { createHash } from 'node:crypto'

/** `index` from 1 to `count`. */
export interface Shard {
  readonly index: number
  readonly count: number
}

/**
 * Whether the shard has the variant. It depends on nothing but the variant's own id, so a variant that is added to a
 * matrix moves no other one to another machine.
 */
export function isInShard(id: string, { index, count }: Shard): boolean {
  return createHash('sha256').update(id).digest().readUInt32BE(0) % count === index - 1
}
