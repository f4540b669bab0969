/** `attestbed run`: the run's events into views, its result into a table or a document, and an exit code. */
import { UsageError } from '../base/errors.ts'
import { shellCommand } from '../machine/shell-command.ts'
import { LiveReporter } from '../report/live.ts'
import { canRedraw, paletteFor } from '../report/palette.ts'
import { PlainReporter } from '../report/plain.ts'
import { fanOut, type Reporter, type TerminalView } from '../report/reporter.ts'
import { RunFiles } from '../report/run-files.ts'
import { verdictTable } from '../report/verdict-table.ts'
import type { RunEvent, RunEventSink, RunResult } from '../run/events.ts'
import type { StateRange } from '../run/power-cut/sampling.ts'
import type { RunRequest } from '../run/program.ts'
import { watchInterrupts } from './interruption.ts'
import { type MatrixFlags, planRequestOf } from './matrix-flags.ts'
import { nothingSelected } from './nothing-selected.ts'
import { forPeople, widthOf, writeDocument } from './output.ts'
import type { WantedReport } from './report-flags.ts'
import { runExitCode } from './run-exit-code.ts'
import { reporterOf, tellPages } from './run-reports.ts'

export type RunScenarios = (request: RunRequest) => Promise<RunResult>

/** The flags as commander hands them over. */
export interface RunFlags extends MatrixFlags {
  readonly jobs?: number
  readonly require?: 'hardware'
  readonly tools?: 'tree' | 'host'
  readonly keep?: boolean
  readonly retry?: number
  readonly repeat?: number
  readonly untilFailure?: boolean
  readonly printArgv?: boolean
  readonly seed?: number
  readonly states?: StateRange
  readonly order?: string
  readonly exhaustive?: boolean
  readonly json?: boolean
  readonly report?: readonly WantedReport[]
}

/** Returns the exit code. Throws what prevented the run as a whole: wrong patterns, a missing set-up. */
export async function run(
  patterns: readonly string[],
  flags: RunFlags,
  runScenarios: RunScenarios = runForReal,
): Promise<number> {
  // Words go to stderr where stdout carries something for a program.
  const wanted = flags.printArgv ? [] : (flags.report ?? [])
  const hasDocument = flags.json || flags.printArgv || wanted.some(({ file }) => file === undefined)
  const annotated = wanted.some(({ kind }) => kind === 'github') ? { github: true } : {}
  const human = forPeople(hasDocument ? process.stderr : process.stdout, annotated)
  const errors = forPeople(process.stderr, annotated)
  const view = terminalView(human)
  const summary = new RunSummary()
  const commandLines = new CommandLines()
  const views = [view, new RunFiles(), summary, commandLines, ...wanted.flatMap(reporterOf)]
  const { sink, close } = fanOut(views, (name, error) => {
    errors.write(`attestbed: the ${name} stopped working, the run goes on: ${messageOf(error)}\n`)
  })
  using interruption = watchInterrupts((words) => view.announce(words))
  // A run that is refused closes its reports, too: they say so, where an older one would say that all is well.
  const started = async () => runScenarios(requestOf(patterns, flags, interruption.signal, sink))
  const result = await started().finally(close)
  const { results, otherShards } = result
  if (results.length === 0 && otherShards === undefined) throw nothingSelected()
  if (results.length === 0)
    human.write(`Nothing to run in this shard: the others have ${otherShards} variants.\n`)
  const broke = results.some(({ outcome }) => outcome === 'error')
  if (results.length > 0 && (!flags.printArgv || broke))
    human.write(
      verdictTable(result, { palette: paletteFor(human), width: widthOf(human), ...summary.totals() }),
    )
  if (flags.printArgv) printCommands(commandLines, flags)
  else if (flags.json) writeDocument(result)
  if (!flags.printArgv) await tellPages(wanted, { directory: summary.totals().directory, human })
  const requireHardware = flags.require === 'hardware'
  return runExitCode(result, { requireHardware, interrupted: interruption.exitCode })
}

const runForReal: RunScenarios = async (request) => {
  const { runScenarios } = await import('../run/program.ts')
  return runScenarios(request)
}

function requestOf(
  patterns: readonly string[],
  flags: RunFlags,
  signal: AbortSignal,
  onEvent: RunEventSink,
): RunRequest {
  return {
    ...planRequestOf(patterns, flags),
    ...(flags.retry !== undefined && { retries: flags.retry }),
    ...(flags.repeat !== undefined && { repeat: flags.repeat }),
    ...(flags.untilFailure && { untilFailure: true }),
    ...(flags.jobs && { jobs: flags.jobs }),
    keep: flags.keep ?? false,
    ...(flags.tools && { tools: flags.tools }),
    printArgv: flags.printArgv ?? false,
    sampling: samplingOf(flags),
    argv: process.argv.slice(2),
    signal,
    onEvent,
  }
}

function samplingOf({ seed, states, order, exhaustive }: RunFlags): NonNullable<RunRequest['sampling']> {
  const wanted = exhaustive ? 'all' : states
  if (states !== undefined && states.first > 1 && seed === undefined)
    throw new UsageError(`--states from ${states.first} on are places in an order: --seed must say which`, {
      code: 'bad-value',
    })
  if (order !== undefined && seed === undefined)
    throw new UsageError(`--order ${order} is drawn by a seed: --seed must say which`, { code: 'bad-value' })
  return {
    ...(seed !== undefined && { seed }),
    ...(wanted !== undefined && { states: wanted }),
    ...(order !== undefined && { order }),
  }
}

function terminalView(output: NodeJS.WriteStream): TerminalView {
  const palette = paletteFor(output)
  return canRedraw(output)
    ? new LiveReporter({ output, palette })
    : new PlainReporter({ write: (text) => output.write(text), palette })
}

/** Collects what --print-argv asks for. */
class CommandLines implements Reporter {
  readonly name = 'command lines'
  readonly scenarios: { readonly scenario: string; readonly commands: readonly (readonly string[])[] }[] = []

  event(event: RunEvent): void {
    if (event.type === 'command-lines') this.scenarios.push({ scenario: event.key, commands: event.commands })
  }
}

/** For a shell: every process of a scenario in the order to start them, under the scenario's name. */
function printCommands({ scenarios }: CommandLines, { json }: RunFlags): void {
  const blocks = scenarios.map(
    ({ scenario, commands }) =>
      `# ${scenario}\n${commands.map((command) => `${shellCommand(command)}\n`).join('')}`,
  )
  if (json) writeDocument({ scenarios })
  else process.stdout.write(blocks.join('\n'))
}

/** Remembers what the table says of the run as a whole. */
class RunSummary implements Reporter {
  readonly name = 'summary'
  readonly #startedAt = Date.now()
  #directory = ''

  event(event: RunEvent): void {
    if (event.type === 'run-started') this.#directory = event.directory
  }

  totals(): { readonly directory: string; readonly elapsedMs: number } {
    return { directory: this.#directory, elapsedMs: Date.now() - this.#startedAt }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
