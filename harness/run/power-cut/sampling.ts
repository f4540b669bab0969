/** How many of the states that a power cut can leave behind are booted, and which. */
import { randomInt } from 'node:crypto'

export interface Sampling {
  /** Draws the sample; a run with the same seed and the same recorded writes draws the same. */
  readonly seed: number
  /** States to boot beside the first. */
  readonly states: number | 'all'
}

export const LARGEST_SEED = 2 ** 32 - 1
const DEFAULT_STATES = 6

/** What was not asked for: a new seed, and a budget that suits a run of everything. */
export function samplingOf({ seed, states }: Partial<Sampling> = {}): Sampling {
  return { seed: seed ?? randomInt(LARGEST_SEED), states: states ?? DEFAULT_STATES }
}
