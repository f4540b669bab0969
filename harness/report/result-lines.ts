import { escapeControls, truncateToWidth } from '../base/text.ts'
import type { ScenarioResult } from '../run/events.ts'
import { clock, pad } from './layout.ts'
import type { Palette } from './palette.ts'

export interface ResultLineOptions {
  readonly label: string
  readonly palette: Palette
  /** Cells; absent: lines are not cut. */
  readonly width?: number
}

/** Cells of the longest outcome, `ERROR`. */
export const OUTCOME_CELLS = 5
const SHORTEST_LABEL = 12

/** `, tried 3 times, unstable`: what a reader of the outcome alone would not know; empty where there is nothing. */
export function remarks({ attempts, unstable, outcome }: ScenarioResult): string {
  const tried = attempts > 1 ? `, tried ${attempts} times` : ''
  return unstable === undefined || outcome === 'skip' ? tried : `${tried}, unstable`
}

/** A finished scenario in one line, and a second with the reason where it did not pass. */
export function resultLines(
  result: ScenarioResult,
  { label, palette, width = Number.MAX_SAFE_INTEGER }: ResultLineOptions,
): readonly string[] {
  const word = pad(result.outcome.toUpperCase(), OUTCOME_CELLS)
  const passed = result.claims.filter((claim) => claim.outcome === 'pass').length
  const claims = result.claims.length === 0 ? '' : `  ${passed} of ${result.claims.length} claims`
  // What is said of the end stays whole: a name that is cut is still known by its beginning.
  const end = `${claims}  ${clock(result.seconds * 1000)}${remarks(result)}`
  const room = width - OUTCOME_CELLS - 1
  const rest = truncateToWidth(
    `${truncateToWidth(label, Math.max(SHORTEST_LABEL, room - end.length))}${end}`,
    room,
  )
  const first = `${palette.outcome(result.outcome, word)} ${rest}`
  if (result.reason === '') return [first]
  const indent = ' '.repeat(OUTCOME_CELLS + 1)
  const reason = escapeControls(result.reason.split('\n')[0] ?? '')
  return [first, palette.faint(indent + truncateToWidth(reason, width - indent.length))]
}
