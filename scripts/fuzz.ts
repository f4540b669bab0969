/**
 * Mutates evidence and endorsements for as long as it is told, guided by which code each input reaches. Usage:
 * node scripts/fuzz.ts [--seconds N] [--seed S] [--target TEXT] [--findings DIRECTORY]
 *
 * Prints how many inputs were tried and how much code they reached, by target. An input that made something happen that
 * never may is written to DIRECTORY. Exit code: 0 where nothing was found, 1 where something was.
 */
import { randomInt } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { sha256Hex } from '../harness/base/digest.ts'
import { Coverage } from '../harness/evidence/testing/fuzz/coverage.ts'
import { type FuzzFinding, fuzz } from '../harness/evidence/testing/fuzz/engine.ts'
import { Random } from '../harness/evidence/testing/fuzz/random.ts'
import { fuzzTargets } from '../harness/evidence/testing/fuzz/targets.ts'

const DEFAULT_SECONDS = 60
const OURS = /\/harness\/(base|formats|evidence)\/(?!.*testing)/

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    seed: { type: 'string' },
    target: { type: 'string', default: '' },
    findings: { type: 'string', default: 'fuzz-findings' },
  },
})
const seconds = Number(values.seconds ?? DEFAULT_SECONDS)
const seed = Number(values.seed ?? randomInt(2 ** 32))
const wanted = fuzzTargets().filter(({ name }) => name.includes(values.target))
process.stdout.write(`seed ${seed}, ${seconds} s, ${wanted.length} targets\n`)

using coverage = new Coverage(OURS)
const random = new Random(seed)
const share = (seconds * 1000) / Math.max(1, wanted.length)
const found: FuzzFinding[] = []
let total = 0
for (const target of wanted) {
  const end = performance.now() + share
  const before = coverage.reached
  const outcome = fuzz(target, {
    ...{ random, coverage, inputs: Number.MAX_SAFE_INTEGER },
    enough: () => performance.now() > end,
  })
  total += outcome.tried
  found.push(...outcome.findings)
  const reached = `${outcome.corpus} kept, ${coverage.reached - before} new characters of code`
  process.stdout.write(
    `${target.name}: ${outcome.tried} inputs, ${reached}, ${outcome.findings.length} findings\n`,
  )
}
process.stdout.write(
  `${total} inputs, ${coverage.reached} characters of code reached, ${found.length} findings\n`,
)

for (const { target, input, error } of found) {
  await mkdir(values.findings, { recursive: true })
  const file = join(values.findings, `${target.replaceAll(' ', '-')}-${sha256Hex(input).slice(0, 12)}`)
  await writeFile(file, input)
  process.stdout.write(`${file}: ${error instanceof Error ? error.stack : error}\n`)
}
process.exitCode = found.length > 0 ? 1 : 0
