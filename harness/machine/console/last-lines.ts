import { escapeControls, truncateToWidth } from '../../base/text.ts'
import type { TextWindow } from './window.ts'

/** How far back the last lines are looked for. */
const REACH = 16 * 1024
const COLUMNS = 200

/** The last `count` lines that are not blank, oldest first, safe to print and at most 200 columns wide each. */
export function lastLines(window: TextWindow, count: number): string[] {
  const start = Math.max(window.start, window.end - REACH)
  const lines = window.bytes({ start, end: window.end }).toString('latin1').split('\n')
  return lines
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .map((line) =>
      truncateToWidth(escapeControls(Buffer.from(line.slice(0, COLUMNS * 4), 'latin1')), COLUMNS),
    )
}
