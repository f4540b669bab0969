/** Every scenario that this machine can run, as tap tests. Arguments are patterns, as for `attestbed run`. */
import t from 'tap'
import { RunFiles } from '../harness/report/run-files.ts'
import { assertResult } from '../harness/report/tap.ts'
import { scenarioIds } from '../harness/run/discover.ts'
import type { RunEvent, ScenarioResult } from '../harness/run/events.ts'
import { runScenarios } from '../harness/run/program.ts'

/** Seconds: the sum of the budgets is far beyond what a run takes; this only ends a machine that hangs. */
const LONGEST_RUN_SECONDS = 3600

t.setTimeout(LONGEST_RUN_SECONDS * 1000)

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort())

const files = new RunFiles()

/** Results are reported as they come; tap prints each as a subtest of its own. */
function onEvent(event: RunEvent): void {
  files.event(event)
  if (event.type === 'run-started') t.comment(`run directory: ${event.directory}`)
  if (event.type === 'scenario-ended') void report(event.result)
}

async function report(result: ScenarioResult): Promise<void> {
  const { platform, emulatedOn, vtpm, firmware, image } = result.variant
  const on = emulatedOn === undefined ? platform : `${platform} (emulated)`
  const name = `${result.scenario} on ${on}, ${vtpm} vTPM, ${firmware}, ${image} (${result.seconds.toFixed(0)} s)`
  await t.test(name, async (t) => assertResult(t, result))
}

/** Several boots a claim and minutes each: each subject has a command of its own, see README.md. */
const LONGER = ['attest/first-boot', 'attest/refusals', 'power-cut/', 'uki/', 'update/']

const named = (process.env['ATTESTBED_SCENARIOS'] ?? '').split(' ').filter((pattern) => pattern !== '')
const patterns =
  named.length > 0
    ? named
    : (await scenarioIds()).filter((id) => !LONGER.some((subject) => id.startsWith(subject)))
const { results } = await runScenarios({ patterns, keep: false, signal: interrupt.signal, onEvent })
t.ok(results.length > 0, 'there are scenarios')
