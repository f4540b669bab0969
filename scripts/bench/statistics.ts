/** What is said of repeated measurements of one thing. */

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  /** How far apart the samples lie: (max - min) / median, 0.1 is ten percent; 0 for one sample. */
  readonly noise: number
}

/** Throws RangeError without samples. */
export function summarize(samples: readonly number[]): Summary {
  const sorted = samples.toSorted((a, b) => a - b)
  const min = sorted[0]
  const max = sorted.at(-1)
  if (min === undefined || max === undefined) throw new RangeError('cannot summarize 0 samples, 1 is needed')
  const upper = sorted[sorted.length >> 1] ?? max
  const lower = sorted[(sorted.length - 1) >> 1] ?? min
  const median = (lower + upper) / 2
  return { median, min, max, noise: median === 0 ? 0 : (max - min) / Math.abs(median) }
}
