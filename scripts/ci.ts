/**
 * The second half of .ci/run: the gate, then the README's test command, then what they said in one line:
 * `N passed, N failed, N skipped`. A step of the gate counts as one, and so does an assertion of the tests.
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { summarizeTap, type TapSummary } from './tap-summary.ts'

const checkout = join(import.meta.dirname, '..')
const running = new Set<{ readonly pid?: number | undefined }>()

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)
  process.on(signal, () => {
    for (const { pid } of running) if (pid !== undefined && pid > 1) process.kill(-pid, 'SIGTERM')
    process.exitCode = exitCode
    process.stderr.write(`ci: ${signal}\n`)
  })

interface Ran {
  readonly exitCode: number
  readonly stdout: string
}

/** Shows the output while it comes, and keeps stdout. Its own process group, so that all of it can be stopped. */
async function npm(...args: readonly string[]): Promise<Ran> {
  if (process.exitCode) return { exitCode: 1, stdout: '' }
  process.stdout.write(`\n$ npm ${args.join(' ')}\n`)
  const child = execa('npm', args, {
    cwd: checkout,
    stdin: 'ignore',
    stdout: ['pipe', 'inherit'],
    stderr: 'inherit',
    maxBuffer: 1 << 28,
    detached: true,
    reject: false,
  })
  running.add(child)
  const { exitCode, stdout } = await child
  running.delete(child)
  return { exitCode: exitCode ?? 1, stdout }
}

/** Without the unit tests: `npm test` runs each of them, and minutes twice say no more. */
async function gate(): Promise<TapSummary> {
  const report = join(process.env['XDG_STATE_HOME'] ?? tmpdir(), `gate-${process.pid}.json`)
  const { exitCode } = await npm('run', 'check', '--', '--report', report, '--without', 'unit-tests')
  const steps = readSteps(report)
  const failures = steps.filter((step) => !step.passed).map((step) => `npm run check: ${step.name}`)
  if (exitCode !== 0 && failures.length === 0)
    failures.push(`npm run check: ended with exit code ${exitCode}`)
  return {
    passed: steps.length - steps.filter((step) => !step.passed).length,
    failed: failures.length,
    failures,
    skipped: 0,
    skips: [],
  }
}

function readSteps(report: string): readonly { readonly name: string; readonly passed: boolean }[] {
  try {
    return JSON.parse(readFileSync(report, 'utf8'))
  } catch {
    return []
  }
}

async function tests(): Promise<TapSummary> {
  const { exitCode, stdout } = await npm('test')
  const summary = summarizeTap(stdout)
  if (exitCode === 0 || summary.failed > 0) return summary
  return { ...summary, failed: 1, failures: [`npm test: ended with exit code ${exitCode}`] }
}

const parts = [await gate(), await tests()]
const total = (count: (part: TapSummary) => number): number =>
  parts.reduce((sum, part) => sum + count(part), 0)
for (const skip of parts.flatMap((part) => part.skips)) process.stdout.write(`skipped: ${skip}\n`)
for (const failure of parts.flatMap((part) => part.failures)) process.stdout.write(`failed: ${failure}\n`)
const failed = total((part) => part.failed)
process.exitCode ||= failed > 0 ? 1 : 0
process.stdout.write(
  `${total((part) => part.passed)} passed, ${failed} failed, ${total((part) => part.skipped)} skipped\n`,
)
