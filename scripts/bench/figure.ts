/** What a measure yields, and how it compares with what was promised. */
import { summarize } from './statistics.ts'

export type Unit = 'ms' | 's' | 'MB' | 'MB/s' | '/s' | 'ratio'

export type Limit = { readonly atMost: number } | { readonly atLeast: number }

export interface Figure {
  readonly name: string
  readonly unit: Unit
  /** At least one, in the order in which they were taken. */
  readonly samples: readonly number[]
  /** Absent for a figure that only explains another. */
  readonly limit?: Limit
}

/**
 * The median decides. `close`: some samples lie on the other side of the limit, so that another run may decide
 * otherwise.
 */
export type Standing = { readonly reached: boolean; readonly close: boolean }

/** Undefined for a figure without a limit. */
export function standingOf({ samples, limit }: Figure): Standing | undefined {
  if (limit === undefined) return undefined
  const { median, min, max } = summarize(samples)
  const holds = (value: number) => ('atMost' in limit ? value <= limit.atMost : value >= limit.atLeast)
  const reached = holds(median)
  return { reached, close: holds(min) !== reached || holds(max) !== reached }
}

export interface MeasureResult {
  readonly figures: readonly Figure[]
  /** How it was measured where the name does not say, and what disturbed it. */
  readonly notes?: readonly string[]
}

export interface MeasureOptions {
  /** What the user asked for; absent: the measure's own habit. */
  readonly repeat?: number
  readonly signal: AbortSignal
  /** What is being done, for whoever waits. */
  readonly tell: (text: string) => void
}

export interface Measure {
  /** What `npm run bench -- ID` selects. */
  readonly id: string
  readonly title: string
  readonly run: (options: MeasureOptions) => Promise<MeasureResult>
}
