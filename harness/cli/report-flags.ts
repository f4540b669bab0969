/** `--report KIND[=FILE],...` of `run`, and the command `report`. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { REPORT_KINDS, type ReportKind } from '../report/kinds.ts'

export interface WantedReport {
  readonly kind: ReportKind
  /** Absent: stdout. */
  readonly file?: string
}

export function reportOption(): Option {
  return new Option(
    '--report <kind[=file],...>',
    `also write ${REPORT_KINDS.join(', ')}; without a file to stdout, then words go to stderr`,
  ).argParser(wantedReports)
}

/** Throws InvalidArgumentError for an unknown kind, and where two would be mixed on stdout. */
export function wantedReports(text: string, previous: readonly WantedReport[] = []): readonly WantedReport[] {
  const wanted = [...previous, ...text.split(',').map(wantedReport)]
  const onStdout = wanted.filter(({ file }) => file === undefined).map(({ kind }) => kind)
  if (onStdout.length > 1)
    throw new InvalidArgumentError(
      `${onStdout.join(' and ')} would be mixed on stdout: give all but one a file.`,
    )
  return wanted
}

function wantedReport(text: string): WantedReport {
  const [, name = '', file] = /^([^=]*)(?:=(.*))?$/s.exec(text) ?? []
  const kind = REPORT_KINDS.find((each) => each === name)
  if (kind === undefined) throw new InvalidArgumentError(`"${name}" is none of ${REPORT_KINDS.join(', ')}.`)
  if (file === '') throw new InvalidArgumentError(`"${text}" names no file.`)
  if (kind === 'html' && file === undefined)
    throw new InvalidArgumentError(
      'html needs a file, as html=report.html (the run directory has one anyway).',
    )
  return { kind, ...(file !== undefined && { file }) }
}

export function addReport(root: Command, finish: (exitCode: number) => void): void {
  root
    .command('report')
    .description('make a report of runs that are over, from what is stored of them')
    .argument('<run...>', 'run directories, the result.json of one, or bundles')
    .addOption(new Option('--format <kind>', 'what to make').choices(REPORT_KINDS).default('html'))
    .option(
      '-o, --output <file>',
      'where to (default: report.html in the run directory, or beside the bundle; stdout for the others)',
    )
    .option('--compare <run>', 'html: say what is new, fixed, slower since this run')
    .addHelpText(
      'after',
      `
Examples:
  attestbed report ~/.local/state/attestbed/runs/20261122T034100Z-1a2b
  attestbed report tonight --compare yesterday -o nightly.html
  attestbed report bug.attestbed
  attestbed report shard-1 shard-2 shard-3 --format junit -o junit.xml

Exit code 0 whatever became of the run: \`attestbed run\` gave its own.`,
    )
    .action(async (runs: string[], flags) => {
      const { report } = await import('./report.ts')
      finish(await report(runs, flags))
    })
}
