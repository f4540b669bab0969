/** What matrices/default.yaml says as tap tests, or what ATTESTBED_SCENARIOS names: patterns as for `attestbed run`. */
import { join } from 'node:path'
import t from 'tap'
import { RunFiles } from '../harness/report/run-files.ts'
import { assertResult } from '../harness/report/tap.ts'
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

const patterns = (process.env['ATTESTBED_SCENARIOS'] ?? '').split(' ').filter((pattern) => pattern !== '')
const { results } = await runScenarios({
  patterns,
  ...(patterns.length === 0 && { matrix: join(import.meta.dirname, 'matrices/default.yaml') }),
  ...{ keep: false, signal: interrupt.signal, onEvent },
})
t.ok(results.length > 0, 'there are scenarios')
