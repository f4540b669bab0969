/**
 * The gate: every check of the project, two at a time. Prints a line a step, and what a failed step said.
 * Usage: check.ts [STEP...] [--without STEP...] [--report FILE]; the report is a JSON array of `{name, passed, seconds}`.
 */
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join } from 'node:path'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { houseRuleBreaches } from './house-rules.ts'
import { summarizeTap } from './tap-summary.ts'
import { unitTestFiles } from './unit-tests.ts'

const checkout = join(import.meta.dirname, '..')
const binaries = join(checkout, 'node_modules/.bin')

interface StepOutcome {
  readonly passed: boolean
  readonly output: string
}

interface Step {
  readonly name: string
  readonly run: () => Promise<StepOutcome>
}

const STEPS: readonly Step[] = [
  { name: 'unit-tests', run: unitTests },
  { name: 'types', run: () => program('tsc', ['--project', '.', '--incremental', ...BUILD_INFO]) },
  { name: 'types-of-page', run: () => program('tsc', ['--project', REPORT_PAGE, '--noEmit']) },
  { name: 'format-and-lint', run: () => program('biome', ['ci', '--colors=off', '.']) },
  {
    name: 'import-rules',
    run: () => program('depcruise', ['--config', '.dependency-cruiser.mjs', ...SOURCE_FOLDERS]),
  },
  { name: 'dead-code', run: () => program('knip', ['--no-progress', '--no-config-hints']) },
  { name: 'house-rules', run: houseRules },
]

/** Runs in a browser: its types know a document, and no other part of the program does. */
const REPORT_PAGE = 'harness/report/html/client'
const SOURCE_FOLDERS = ['harness', 'scenarios', 'scripts']
const BUILD_INFO = ['--tsBuildInfoFile', 'node_modules/.cache/attestbed/tsc.json']

const SURROUNDINGS = {
  cwd: checkout,
  env: { PATH: `${binaries}${delimiter}${process.env['PATH'] ?? ''}`, NO_COLOR: '1' },
  stdin: 'ignore',
  reject: false,
} as const

async function program(name: string, args: readonly string[]): Promise<StepOutcome> {
  const { exitCode, all } = await execa(join(binaries, name), args, { ...SURROUNDINGS, all: true })
  return { passed: exitCode === 0, output: all }
}

async function unitTests(): Promise<StepOutcome> {
  const args = ['--reporter=tap', ...(await unitTestFiles(checkout))]
  const { exitCode, stdout, stderr } = await execa(join(binaries, 'tap'), args, SURROUNDINGS)
  const { failures } = summarizeTap(stdout)
  return { passed: exitCode === 0, output: [...failures, stderr].join('\n') }
}

async function houseRules(): Promise<StepOutcome> {
  const breaches = await houseRuleBreaches(checkout)
  return { passed: breaches.length === 0, output: breaches.join('\n') }
}

function selectSteps(names: readonly string[], without: readonly string[]): readonly Step[] {
  const known = STEPS.map((step) => step.name)
  const unknown = [...names, ...without].find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`no step "${unknown}"; there are ${known.join(', ')}`)
  const named = names.length === 0 ? STEPS : STEPS.filter((step) => names.includes(step.name))
  return named.filter((step) => !without.includes(step.name))
}

interface ReportedStep {
  readonly name: string
  readonly passed: boolean
  readonly seconds: number
}

async function runStep({ name, run }: Step): Promise<ReportedStep> {
  const startedAt = performance.now()
  const { passed, output } = await run()
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10
  process.stdout.write(`${passed ? 'ok  ' : 'FAIL'}  ${name.padEnd(16)}${seconds.toFixed(1).padStart(6)} s\n`)
  if (!passed) process.stdout.write(`${output.trimEnd().replaceAll(/^/gm, '      ')}\n`)
  return { name, passed, seconds }
}

async function runAll(steps: readonly Step[]): Promise<readonly ReportedStep[]> {
  const waiting = [...steps]
  const reported: ReportedStep[] = []
  const worker = async (): Promise<void> => {
    for (let step = waiting.shift(); step; step = waiting.shift()) reported.push(await runStep(step))
  }
  await Promise.all(Array.from({ length: Math.max(2, Math.min(4, availableParallelism())) }, worker))
  return reported
}

const { values, positionals } = parseArgs({
  options: { report: { type: 'string' }, without: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
})
const reported = await runAll(selectSteps(positionals, values.without))
if (values.report !== undefined) writeFileSync(values.report, JSON.stringify(reported))
const failed = reported.filter((step) => !step.passed).map((step) => step.name)
process.stdout.write(
  failed.length === 0
    ? `gate: all ${reported.length} steps hold\n`
    : `gate: failed: ${failed.join(', ')}; one alone: npm run check -- ${failed[0]}\n`,
)
process.exitCode = failed.length === 0 ? 0 : 1
