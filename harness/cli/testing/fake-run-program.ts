/**
 * `attestbed run` over a fake run, as a program for tests of what a process does: streams, signals, exit codes.
 * Arguments: `json`, `argv`; `empty-shard`: has no variant; `wait`: does not end before it is interrupted;
 * `stubborn`: not even then; `--report=KIND[=FILE],...`: as the flag; `--in=DIRECTORY`: the run's directory.
 */
import { endEvents, MIXED, startEvents } from '../../report/testing/fake-run.ts'
import { ignoreClosedPipes } from '../output.ts'
import { wantedReports } from '../report-flags.ts'
import { type RunScenarios, run } from '../run.ts'

const words = new Set(process.argv.slice(2))
const textAfter = (flag: string): string | undefined =>
  [...words].find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1)
const reports = textAfter('--report')
const directory = textAfter('--in') ?? ''
ignoreClosedPipes()

const fakeRun: RunScenarios = async ({ onEvent, signal }) => {
  if (words.has('empty-shard')) {
    const empty = { results: [], otherShards: 5 }
    for (const event of [...startEvents([], ''), ...endEvents(empty)]) onEvent(event)
    return empty
  }
  for (const event of startEvents(MIXED.results, directory)) {
    // Run directories belong to the tests of the reports.
    if (event.type === 'scenario-started') onEvent({ ...event, directory: '' })
    else onEvent(event)
  }
  if (words.has('argv'))
    onEvent({ type: 'command-lines', at: 0, key: 'k0', commands: [['qemu', '-append', 'a b']] })
  const keepAlive = setInterval(() => {}, 1000)
  if (words.has('wait')) await new Promise((resolve) => signal.addEventListener('abort', resolve))
  if (words.has('stubborn')) await new Promise(() => {})
  clearInterval(keepAlive)
  for (const event of endEvents(MIXED)) onEvent(event)
  return MIXED
}

const flags = {
  ...{ json: words.has('json'), printArgv: words.has('argv') },
  ...(reports !== undefined && { report: wantedReports(reports) }),
}
process.exitCode = await run([], flags, fakeRun)
