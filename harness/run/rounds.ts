/** Runs the points of a plan more than once: so often, or until something fails. */
import type { ScenarioResult } from './events.ts'
import { failsRun } from './outcome.ts'
import type { PlannedPoint } from './plan.ts'

export interface Repetition {
  /** How often each point is run; with `untilFailure`, at most so often. Default 1, or without an end. */
  readonly repeat?: number
  /** Runs everything again and again until something fails or breaks that the matrix does not mark as unstable. */
  readonly untilFailure?: boolean
}

export interface Rounds extends Repetition {
  readonly run: (points: readonly PlannedPoint[]) => Promise<readonly ScenarioResult[]>
  /** Asked between rounds. */
  readonly isOver: () => boolean
  /** Before every round but the first. */
  readonly announce: (points: readonly PlannedPoint[]) => void
}

/** The points of a round, from 1; without `untilFailure` there is one round with all repetitions. */
export function roundOf(
  points: readonly PlannedPoint[],
  number: number,
  { repeat = 1, untilFailure = false }: Repetition,
): readonly PlannedPoint[] {
  if (untilFailure) return points.map((point) => repeated(point, number))
  if (repeat === 1) return points
  const repetitions = Array.from({ length: repeat }, (_, index) => index + 1)
  return repetitions.flatMap((repetition) => points.map((point) => repeated(point, repetition)))
}

function repeated(point: PlannedPoint, repetition: number): PlannedPoint {
  return { ...point, key: `${point.key}#${repetition}`, repetition }
}

/** Results of all rounds, in order. */
export async function runRounds(
  points: readonly PlannedPoint[],
  rounds: Rounds,
): Promise<readonly ScenarioResult[]> {
  const most = rounds.untilFailure ? (rounds.repeat ?? Number.POSITIVE_INFINITY) : 1
  const results: ScenarioResult[] = []
  for (let number = 1; number <= most; number++) {
    const round = roundOf(points, number, rounds)
    if (number > 1) rounds.announce(round)
    const ended = await rounds.run(round)
    for (const result of ended) results.push(result)
    // Rounds in which nothing is started would follow each other without an end, also where a mark forgives it.
    const isIdle = ended.every(({ outcome, attempts }) => outcome === 'skip' || attempts === 0)
    if (rounds.isOver() || isIdle || ended.some(failsRun)) break
  }
  return results
}
