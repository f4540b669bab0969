/** How many of the states that a power cut can leave behind are booted, and which. */
import { randomInt } from 'node:crypto'
import { UsageError } from '../../base/errors.ts'
import type { Budget } from '../lab-spec.ts'

export interface Sampling {
  /** Draws the sample; a run with the same seed and the same recorded writes draws the same. */
  readonly seed: number
  /** States to boot beside the first and the last. */
  readonly states: StateRange | 'all'
  /** What `orderOf` must give: that of the run whose other ranges this one goes on with. Absent: any. */
  readonly order?: string
}

/** Places in the order that the seed draws, from 1: what is too much for one run is booted by several. */
export interface StateRange {
  readonly first: number
  /** May be behind the end of all states; MOST_STATES where the range has no end. */
  readonly last: number
}

export const LARGEST_SEED = 2 ** 32 - 1
/** With the two controls and the recording, some four minutes of a machine that is not busy. */
const DEFAULT_STATES: StateRange = { first: 1, last: 4 }

/** What was not asked for: a new seed, and a budget that suits a run of everything. */
export function samplingOf({ seed, states, order }: Partial<Sampling> = {}): Sampling {
  return {
    ...{ seed: seed ?? randomInt(LARGEST_SEED), states: states ?? DEFAULT_STATES },
    ...(order !== undefined && { order }),
  }
}

/** For a recording that must show what breaks: a range that goes on with another recording's begins with the worst there. */
export function ofControl({ seed, states }: Sampling): Sampling {
  return { seed, states: states === 'all' || states.first === 1 ? states : DEFAULT_STATES }
}

/** Throws UsageError where the states of this recording follow each other otherwise: a range would be other states. */
export function mustBeOrder(got: string, { order }: Sampling): void {
  if (order === undefined || order === got) return
  throw new UsageError(`cannot boot states of the order ${order}: this recording's order is ${got}`, {
    code: 'bad-value',
  })
}

/** A scenario that tries all there is may take a day. */
const MOST_SECONDS = 86_400

/** What a scenario may take with this sample; one that boots no states has its own budget, whatever is sampled. */
export function secondsFor({ seconds, secondsPerState }: Budget, { states }: Sampling): number {
  if (secondsPerState === undefined) return seconds
  if (states === 'all') return MOST_SECONDS
  const more = countOf(states) - countOf(DEFAULT_STATES)
  return Math.min(MOST_SECONDS, seconds + Math.max(0, more) * secondsPerState)
}

/** Those of the sample, in order. Throws UsageError where it begins behind the last of them. */
export function sampleOf<State>(all: readonly State[], { states }: Sampling): readonly State[] {
  if (states === 'all') return all
  if (states.first > Math.max(1, all.length))
    throw new UsageError(
      `cannot boot states ${states.first} to ${states.last}: there are ${all.length} between the first and the last`,
      { code: 'bad-value' },
    )
  return all.slice(states.first - 1, states.last)
}

function countOf({ first, last }: StateRange): number {
  return last - first + 1
}
