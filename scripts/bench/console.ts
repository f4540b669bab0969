/** The console engine's own bench, in a process whose memory is only the engine's. */
import type { BenchFigure } from '../../harness/machine/console/console.bench.ts'
import type { Figure, Limit, Measure } from './figure.ts'
import { startJob } from './run-child.ts'

const REPEAT = 1
const THROUGHPUT: Limit = { atLeast: 100 }
/** What counts as flat: a small part of the gigabyte, and more than V8 takes before it collects garbage. */
const GROWTH: Limit = { atMost: 64 }

export const consoleEngine: Measure = {
  id: 'console',
  title: 'console engine, 20 patterns armed, 1 GB',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const runs: (readonly BenchFigure[])[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`console engine: ${i} of ${repeat}`)
      runs.push((await startJob('console', { signal }).result) as readonly BenchFigure[])
    }
    const [first = []] = runs
    return {
      figures: first.map((figure, index) =>
        figureOf(
          figure,
          runs.flatMap((run) => run[index] ?? []),
        ),
      ),
    }
  },
}

function figureOf({ name, unit }: BenchFigure, taken: readonly BenchFigure[]): Figure {
  const limit = unit === 'MB' ? GROWTH : THROUGHPUT
  return { name, unit, samples: taken.map(({ value }) => value), limit }
}
