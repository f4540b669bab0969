/** `attestbed rehearse` for people: the digest in two ways, what was measured, what the evidence will show beside it. */
import { wrap } from './layout.ts'

/** What is shown of the document that `rehearse --json` writes. */
export interface ShownRehearsal {
  readonly platform?: string
  readonly launchDigest?: string
  readonly mrtd?: string
  readonly predicted: string
  readonly agree: boolean
  /** Where the two part, in words. */
  readonly difference?: string | undefined
  readonly fields: Readonly<Record<string, string>>
  readonly pages?: readonly {
    readonly gpa: string
    readonly size: number
    readonly type: string
    readonly count?: number
  }[]
}

const MARGIN = '  '
const NAME_WIDTH = 18

/** Lines of at most `width` columns, without a trailing newline. */
export function renderRehearsal(rehearsal: ShownRehearsal, width: number): string {
  const { platform, launchDigest, mrtd, predicted, agree, difference, fields, pages = [] } = rehearsal
  return [
    `${platform ?? 'launch'}: QEMU's own launch, rehearsed; no hardware proved it`,
    ...row(mrtd === undefined ? 'launch digest' : 'MRTD', mrtd ?? launchDigest ?? '', width),
    ...row('predicted', agree ? 'the same' : predicted, width),
    ...(agree ? [] : row('', `The two DIFFER: ${difference ?? 'in nothing that is listed here'}`, width)),
    '',
    'Measured, in this order',
    ...pages.map(
      ({ gpa, size, type, count = 1 }) =>
        `${MARGIN}${gpa.padEnd(NAME_WIDTH - 2)}${MARGIN}${sizeOf(size).padStart(9)}${MARGIN}${type}${count > 1 ? ` x ${count}` : ''}`,
    ),
    '',
    'Beside the digest, the evidence will show',
    ...Object.entries(fields).flatMap(([name, value]) => row(name, value, width)),
  ].join('\n')
}

function row(name: string, value: string, width: number): readonly string[] {
  const column = MARGIN.length + NAME_WIDTH
  const [first = '', ...rest] = wrap(value, Math.max(16, width - column))
  return [
    `${MARGIN}${name.padEnd(NAME_WIDTH)}${first}`.trimEnd(),
    ...rest.map((line) => `${' '.repeat(column)}${line}`),
  ]
}

function sizeOf(bytes: number): string {
  const mebibytes = bytes / 2 ** 20
  return Number.isInteger(mebibytes) && mebibytes > 0 ? `${mebibytes} MiB` : `${bytes / 1024} KiB`
}
