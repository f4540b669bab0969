/** `attestbed verify` and `inspect` for people: what the evidence says, what vouches for it, what is wrong with it. */
import type { Finding } from '../base/errors.ts'
import { pad, wrap } from './layout.ts'
import type { Palette } from './palette.ts'

/** Every string must be safe to print. */
export interface EvidenceView {
  readonly title: string
  readonly says: readonly {
    readonly title: string
    readonly rows: readonly { readonly label: string; readonly value: string; readonly note?: string }[]
  }[]
  readonly vouchedBy: readonly { readonly state: 'holds' | 'open'; readonly text: string }[]
  /** Undefined where nothing was verified. */
  readonly verdict: EvidenceVerdict | undefined
}

export interface EvidenceVerdict {
  readonly authentic: boolean
  readonly acceptable: boolean
  readonly findings: readonly Finding[]
  /** What it was held against: a file, or the strict default. */
  readonly policy: string
  readonly at: Date
}

export interface PageLayout {
  readonly width: number
  readonly palette: Palette
}

const MARGIN = '  '
/** Below, a value goes under its label. */
const LEAST_VALUE_WIDTH = 24

/** Lines of at most `width` columns where words allow it, with a newline at the end. */
export function renderEvidence(view: EvidenceView, layout: PageLayout): string {
  const { palette } = layout
  const labelWidth = Math.max(0, ...view.says.flatMap(({ rows }) => rows.map(({ label }) => label.length)))
  const blocks = [
    [palette.strong(view.title)],
    ...view.says.map(({ title, rows }) => [
      palette.strong(title),
      ...rows.flatMap((each) => rowLines(each, { ...layout, labelWidth })),
    ]),
    ...(view.vouchedBy.length === 0
      ? []
      : [
          [
            palette.strong('What vouches for it'),
            ...view.vouchedBy.flatMap((each) => voucherLines(each, layout)),
          ],
        ]),
    ...(view.verdict === undefined ? [] : verdictBlocks(view.verdict, layout)),
  ]
  return `${blocks.map((lines) => lines.join('\n')).join('\n\n')}\n`
}

interface Row {
  readonly label: string
  readonly value: string
  readonly note?: string
}

function rowLines(
  { label, value, note }: Row,
  { width, palette, labelWidth }: PageLayout & { readonly labelWidth: number },
): readonly string[] {
  const indent = MARGIN.length + labelWidth + 2
  const room = width - indent
  if (room < LEAST_VALUE_WIDTH)
    return [
      MARGIN + label,
      ...wrap(`${value} ${note ?? ''}`.trimEnd(), width - 4).map((line) => `    ${line}`),
    ]
  const lines = HEX.test(value) && value.length > room ? chunks(value, room) : wrap(value, room)
  const beside = note !== undefined && lines.length === 1 && value.length + 2 + note.length <= room
  const notes = note === undefined || beside ? [] : wrap(note, room).map((line) => palette.faint(line))
  const [first = '', ...rest] = lines
  return [
    `${MARGIN}${palette.faint(pad(label, labelWidth))}  ${first}${beside ? `  ${palette.faint(note)}` : ''}`,
    ...[...rest, ...notes].map((line) => ' '.repeat(indent) + line),
  ]
}

const HEX = /^[0-9a-f]+$/
const CHUNK = 16

/** Digests in lines of the same length, so that two of them can be compared by eye. */
function chunks(hex: string, room: number): readonly string[] {
  const count = Math.ceil(hex.length / Math.max(CHUNK, room - (room % CHUNK)))
  const columns = Math.ceil(hex.length / count / CHUNK) * CHUNK
  return Array.from({ length: count }, (_, index) => hex.slice(index * columns, (index + 1) * columns))
}

const MARKS = { holds: '+', open: '?' } as const

function voucherLines(
  { state, text }: EvidenceView['vouchedBy'][number],
  { width, palette }: PageLayout,
): readonly string[] {
  const mark = palette.outcome(state === 'holds' ? 'pass' : 'skip', MARKS[state])
  return item(mark, text, width)
}

function item(mark: string, text: string, width: number): readonly string[] {
  const [first = '', ...rest] = wrap(text, width - 4)
  return [`${MARGIN}${mark} ${first}`, ...rest.map((line) => `    ${line}`)]
}

function verdictBlocks(verdict: EvidenceVerdict, layout: PageLayout): readonly (readonly string[])[] {
  const { palette, width } = layout
  const { findings, authentic } = verdict
  const wrong =
    findings.length === 0
      ? []
      : [[palette.strong('What is wrong'), ...findings.flatMap((each) => findingLines(each, layout))]]
  const scope = authentic ? `, held against ${verdict.policy}` : ''
  const words = wrap(`${summary(verdict)}${scope}, at ${verdict.at.toISOString()}`, width)
  const outcome = authentic && verdict.acceptable ? 'pass' : 'fail'
  return [...wrong, words.map((line) => palette.outcome(outcome, line))]
}

function summary({ authentic, acceptable, findings }: EvidenceVerdict): string {
  if (!authentic) return 'NOT AUTHENTIC: nothing that it says is to be believed'
  if (acceptable) return 'authentic and acceptable'
  return `authentic, NOT ACCEPTABLE (${findings.length} finding${findings.length === 1 ? '' : 's'})`
}

function findingLines(
  { code, message, expected, got, hint }: Finding,
  { width, palette }: PageLayout,
): readonly string[] {
  const detail = (label: string, text: string): readonly string[] => {
    const lines = wrap(text, width - 4 - 'expected '.length)
    return lines.map((line, index) => `    ${palette.faint(pad(index === 0 ? label : '', 8))} ${line}`)
  }
  return [
    ...item(palette.outcome('fail', '-'), `[${code}] ${message}`, width),
    ...detail('expected', expected),
    ...detail('got', got),
    ...(hint === undefined ? [] : detail('hint', hint)),
  ]
}
