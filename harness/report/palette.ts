import { styleText } from 'node:util'
import type { ClaimOutcome, Outcome } from '../run/events.ts'

/** Colours by meaning. Text is escaped before it is coloured. */
export interface Palette {
  outcome(outcome: Outcome | ClaimOutcome, text: string): string
  strong(text: string): string
  faint(text: string): string
}

const COLOUR_OF = { pass: 'green', fail: 'red', error: 'magenta', skip: 'yellow' } as const

const PLAIN: Palette = {
  outcome: (_outcome, text) => text,
  strong: (text) => text,
  faint: (text) => text,
}

const COLOURED: Palette = {
  outcome: (outcome, text) => styleText(COLOUR_OF[outcome], text, { validateStream: false }),
  strong: (text) => styleText('bold', text, { validateStream: false }),
  faint: (text) => styleText('dim', text, { validateStream: false }),
}

export interface OutputTraits {
  readonly isTTY?: boolean | undefined
}

/** Colours where the output is a terminal that has them and nobody said NO_COLOR. */
export function paletteFor(output: OutputTraits, environment: NodeJS.ProcessEnv = process.env): Palette {
  return isRichTerminal(output, environment) && !environment['NO_COLOR'] ? COLOURED : PLAIN
}

/** Whether lines can be redrawn in place. */
export function canRedraw(output: OutputTraits, environment: NodeJS.ProcessEnv = process.env): boolean {
  return isRichTerminal(output, environment) && !environment['NO_COLOR'] && !environment['CI']
}

function isRichTerminal(output: OutputTraits, environment: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && environment['TERM'] !== 'dumb'
}
