/** `attestbed doctor` for people: what this host can run, then every fact with its proof. */

import type { Fact, HostReport } from '../probe/facts.ts'

const WIDTH = 80
const INDENT = 2
/** Longer ids take a line of their own. */
const ID_WIDTH = 20
const STATUS_WIDTH = 'unknown'.length

/** Lines of at most `width` columns (default 80), without a trailing newline. */
export function renderHostReport(report: HostReport, options: { readonly width?: number } = {}): string {
  const width = options.width ?? WIDTH
  return [
    'Platforms',
    ...Object.entries(report.platforms).flatMap(([id, { usable, reason = '', limits = [], emulatedOn }]) => {
      const emulation = emulatedOn === undefined ? '' : `; scenarios about it run emulated, on ${emulatedOn}`
      return row(width, {
        ...{ id, status: usable ? 'yes' : 'no' },
        text: usable ? limits.join('; ') : `${reason}${emulation}`,
      })
    }),
    '',
    'Facts',
    ...report.facts.flatMap((fact) => factRows(width, fact)),
  ].join('\n')
}

interface Row {
  readonly id: string
  readonly status: string
  readonly text: string
}

function factRows(width: number, { id, status, proof, hint }: Fact): readonly string[] {
  const found = row(width, { id, status, text: proof })
  return status === 'yes' || hint === ''
    ? found
    : [...found, ...row(width, { id: '', status: '', text: `-> ${hint}` })]
}

/** Aligned columns; what does not fit goes on under the text. */
function row(width: number, { id, status, text }: Row): readonly string[] {
  const margin = ' '.repeat(INDENT)
  const head = `${margin}${id.padEnd(ID_WIDTH)}${margin}${status.padEnd(STATUS_WIDTH)}${margin}`
  const column = INDENT + ID_WIDTH + INDENT + STATUS_WIDTH + INDENT
  const lines = wrap(text, width - column).map((line) => `${' '.repeat(column)}${line}`)
  if (id.length > ID_WIDTH) return [`${margin}${id}`, ...row(width, { id: '', status, text })]
  return [`${head}${lines[0]?.trimStart() ?? ''}`, ...lines.slice(1)].map((line) => line.trimEnd())
}

/** At spaces where it can; a longer word is cut. */
function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ').flatMap((long) => pieces(long, width))) {
    const longer = line === '' ? word : `${line} ${word}`
    if (longer.length <= width) line = longer
    else {
      lines.push(line)
      line = word
    }
  }
  return [...lines, line]
}

function pieces(word: string, width: number): readonly string[] {
  if (word.length <= width) return [word]
  return [word.slice(0, width), ...pieces(word.slice(width), width)]
}
