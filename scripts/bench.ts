/**
 * The figures that the project promises for speed and memory. A benchmark: it says what was reached on this machine
 * now, and decides nothing. Usage: npm run bench -- [MEASURE...] [--repeat N] [--json FILE]
 *
 * How to read it. A line with a limit is a promise; the lines further in below it say where it comes from. The value is
 * the median; behind it the lowest and highest sample, half their distance in percent of the median, and how many
 * there were. `within the noise` marks a promise that some samples keep and some do not: repeat it, on a quiet machine.
 * A ratio compares two things measured in the same run, so it holds on a busy machine where seconds do not. Exit code:
 * 0 also where something was not reached; 4 when a measure could not be taken.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { diagnoseHost } from '../harness/platforms/diagnose.ts'
import { resolvePaths } from '../harness/system/paths.ts'
import { openTools } from '../harness/system/tools.ts'
import { attestedUnlock } from './bench/attested-unlock.ts'
import { brokerExchanges, brokerMemory } from './bench/broker.ts'
import { bundle } from './bench/bundle.ts'
import { consoleEngine } from './bench/console.ts'
import { eventLog } from './bench/evidence-event-log.ts'
import { evidenceSnp } from './bench/evidence-snp.ts'
import { evidenceTdx } from './bench/evidence-tdx.ts'
import type { Measure, MeasureOptions } from './bench/figure.ts'
import { htmlReport } from './bench/html-report.ts'
import { launchDigest } from './bench/launch-digest.ts'
import { machineState } from './bench/machine-state.ts'
import { memory } from './bench/memory.ts'
import { planning } from './bench/planning.ts'
import { powerCut } from './bench/power-cut.ts'
import { bootDebian, bootMicro } from './bench/power-on.ts'
import { rebuild } from './bench/rebuild.ts'
import { rehearsal } from './bench/rehearsal.ts'
import { benchDocument, type MeasureReport, machineText, measureText } from './bench/report.ts'
import { scheduling } from './bench/scheduling.ts'
import { selectMeasures } from './bench/select.ts'
import { sideBySide } from './bench/side-by-side.ts'
import { startUp } from './bench/start-up.ts'
import { together } from './bench/together.ts'
import { BENCH_PLATFORM } from './bench/workbench.ts'

const MEASURES: readonly Measure[] = [
  startUp,
  sideBySide,
  bootMicro,
  bootDebian,
  powerCut,
  rebuild,
  together,
  consoleEngine,
  launchDigest,
  rehearsal,
  memory,
  evidenceSnp,
  evidenceTdx,
  eventLog,
  planning,
  scheduling,
  htmlReport,
  attestedUnlock,
  brokerExchanges,
  brokerMemory,
  bundle,
]

const USAGE = 2
const BROKEN = 4
const INTERRUPTED = 130

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { repeat: { type: 'string' }, json: { type: 'string' } },
    allowPositionals: true,
  })
  const repeat = values.repeat === undefined ? undefined : Number(values.repeat)
  if (repeat !== undefined && !(Number.isInteger(repeat) && repeat > 0))
    throw new TypeError(`--repeat is '${values.repeat}', a whole number above 0 is required`)
  const measures = selectMeasures(MEASURES, positionals)
  const interruption = interruptions()
  const paths = resolvePaths()
  const { report } = await diagnoseHost({ paths, tools: await openTools() })
  const machine = machineState(report, BENCH_PLATFORM)
  process.stdout.write(machineText(machine))
  const options: MeasureOptions = {
    ...(repeat !== undefined && { repeat }),
    signal: interruption,
    tell: (text) => process.stderr.write(`bench: ${text}\n`),
  }
  const reports: MeasureReport[] = []
  for (const measure of measures) {
    const report = await take(measure, options)
    if (interruption.aborted) return INTERRUPTED
    reports.push(report)
    process.stdout.write(measureText(report))
  }
  if (values.json !== undefined)
    await writeFile(
      values.json,
      `${JSON.stringify(benchDocument({ machine, measures: reports }), null, 2)}\n`,
    )
  return reports.some(({ result }) => result instanceof Error) ? BROKEN : 0
}

async function take({ id, title, run }: Measure, options: MeasureOptions): Promise<MeasureReport> {
  const startedAt = performance.now()
  const result = await run(options).catch((error: unknown) =>
    error instanceof Error ? error : new Error(String(error)),
  )
  return { id, title, seconds: (performance.now() - startedAt) / 1000, result }
}

function interruptions(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, () => controller.abort(new Error(`interrupted by ${name}`)))
  return controller.signal
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  // parseArgs and the selection: TypeErrors about what was typed.
  if (!(error instanceof TypeError)) throw error
  process.stderr.write(`bench: ${error.message}\n`)
  process.exitCode = USAGE
}
