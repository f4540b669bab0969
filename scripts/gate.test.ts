import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { houseRuleBreaches } from './house-rules.ts'
import { summarizeTap } from './tap-summary.ts'

const CHECKOUT = join(import.meta.dirname, '..')

function plant(t: Test, files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'gate-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, file)), { recursive: true })
    writeFileSync(join(directory, file), text)
  }
  return directory
}

const empty = 'export const nothing = 0\n'
const uses = (...paths: readonly string[]): string =>
  paths.map((path, index) => `export * as n${index} from '${path}'\n`).join('')

/** Each file breaks the rule that it is listed under. */
const VIOLATIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'room-base': { 'harness/base/up.ts': uses('../system/scope.ts') },
  'room-measure': { 'harness/measure/sees.ts': uses('../evidence/report.ts') },
  'room-evidence': { 'harness/evidence/sees.ts': uses('../measure/digest.ts') },
  'room-machine': {
    'harness/machine/typed.ts':
      "import type { nothing } from '../run/index.ts'\nexport type N = typeof nothing\n",
  },
  'room-report': { 'harness/report/lazy.ts': "export const late = () => import('../run/program.ts')\n" },
  'known-rooms': { 'harness/utils/new.ts': uses('../base/errors.ts') },
  'scenario-surface': { 'scenarios/subject/deep.ts': uses('../../harness/machine/argv.ts') },
  'pure-rooms': { 'harness/formats/reads.ts': "export { readFileSync } from 'node:fs'\n" },
  'processes-through-system': {
    'harness/run/spawns.ts': "export { spawn } from 'node:child_process'\n",
    'harness/run/packaged.ts': "export { execa } from 'execa'\n",
  },
  'dev-dependencies': { 'harness/run/tests.ts': "export { check } from 'fast-check'\n" },
  'testing-folders': { 'harness/run/fakes.ts': uses('../system/testing/fake.ts') },
  'tests-are-leaves': { 'harness/run/grabs.ts': uses('./some.test.ts') },
  'no-cycles': { 'harness/run/one-way.ts': uses('./other-way.ts') },
  resolvable: { 'harness/run/lost.ts': uses('./nowhere.ts') },
}

/** Imports that the table allows. */
const ALLOWED: Readonly<Record<string, string>> = {
  'harness/base/errors.ts': empty,
  'harness/system/scope.ts': uses('../base/errors.ts'),
  'harness/system/starts.ts': "export { spawn } from 'node:child_process'\n",
  'harness/system/testing/fake.ts': empty,
  'harness/measure/digest.ts': uses('../base/errors.ts'),
  'harness/evidence/report.ts': uses('../base/errors.ts'),
  'harness/machine/argv.ts': uses('../system/scope.ts', '../base/errors.ts'),
  'harness/verdict/claims.ts': uses('../measure/digest.ts', '../evidence/report.ts'),
  'harness/run/index.ts': uses('../machine/argv.ts', '../verdict/claims.ts'),
  'harness/run/events.ts': empty,
  'harness/run/program.ts': uses('./index.ts'),
  'harness/run/some.test.ts': uses('./index.ts', '../system/testing/fake.ts'),
  'harness/report/table.ts': uses('../run/events.ts', '../base/errors.ts'),
  'harness/cli/main.ts': uses('../run/program.ts', '../report/table.ts'),
  'scenarios/subject/one.ts': uses('../../harness/run/index.ts'),
}

interface Violation {
  readonly rule: { readonly name: string }
  readonly from: string
}

async function cruise(directory: string): Promise<readonly Violation[]> {
  const config = join(CHECKOUT, '.dependency-cruiser.mjs')
  const program = join(CHECKOUT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs')
  for (const file of ['tsconfig.json', 'package.json']) cpSync(join(CHECKOUT, file), join(directory, file))
  symlinkSync(join(CHECKOUT, 'node_modules'), join(directory, 'node_modules'))
  const args = [program, '--config', config, '--output-type', 'json', 'harness', 'scenarios']
  const { stdout } = await execa(process.execPath, args, { cwd: directory, reject: false })
  return JSON.parse(stdout).summary.violations
}

t.test('import rules', async (t) => {
  // The other half of the cycle; one violation a cycle is reported, at the file that comes first.
  const otherHalf = { 'harness/run/other-way.ts': uses('./one-way.ts') }
  const files = Object.assign(otherHalf, ALLOWED, ...Object.values(VIOLATIONS))
  const violations = await cruise(plant(t, files))
  for (const [rule, planted] of Object.entries(VIOLATIONS))
    t.test(`catch a planted violation of ${rule}`, async (t) => {
      const caught = violations.filter(({ rule: { name } }) => name === rule).map(({ from }) => from)
      const missed = Object.keys(planted).filter((file) => !caught.includes(file))
      t.same(missed, [], `caught: ${caught.join(', ') || 'nothing'}`)
    })
  t.test('let pass what the table allows', async (t) => {
    t.same(
      violations.filter(({ from }) => from in ALLOWED).map(({ from, rule }) => `${from}: ${rule.name}`),
      [],
    )
  })
})

t.test('house rules', async (t) => {
  const long = 'line\n'.repeat(401)
  const directory = plant(t, {
    'harness/base/README.md': 'line\n'.repeat(41),
    'harness/base/long.ts': long,
    'harness/system/short.ts': `const where = '${'http'}://deb.somewhere.net/debian'\n`,
    'harness/system/README.md': 'short\n',
    'harness/formats/README.md': 'short\n',
    'harness/formats/bare.ts': '/** Said. */\nexport const said = 1\nexport const bare = 2\n',
    'harness/formats/silent.ts':
      '/** Two bytes. Throws FormatError. */\nexport function said() {}\n/** Two bytes. */\nexport function silent() {}\n',
    'harness/formats/bare.test.ts': 'export const test = 1\n',
    'harness/probe/fixtures/README.md': long,
    'harness/probe/host.ts': "const reserved = 'http://mirror.example/debian'\\n",
  })
  writeFileSync(join(directory, 'harness/system/path.ts'), `const here = '${directory}/harness'\n`)
  await execa('git', ['init', '--quiet'], { cwd: directory })
  const breaches = await houseRuleBreaches(directory)
  t.same(
    breaches.map((breach) => breach.split(': ')[0]),
    [
      'harness/probe/README.md:1',
      'harness/base/README.md:40',
      'harness/base/long.ts:400',
      'harness/formats/bare.ts:3',
      'harness/formats/silent.ts:4',
      'harness/system/path.ts:1',
      'harness/system/short.ts:1',
    ],
    breaches.join('\n'),
  )
})

t.test('the TAP summary', async (t) => {
  const tap = (text: string) => summarizeTap(`set-up: fine\nTAP version 14\n${text}`)
  t.test('counts assertions once, not the points that close their subtests', async (t) => {
    const nested =
      '# Subtest: file\n    ok 1 - a\n    not ok 2 - b\n      ---\n      got: x\n      ...\n    1..2\nnot ok 1 - file\n1..1\n'
    t.match(tap(nested), { passed: 1, failed: 1, skipped: 0, failures: ['file > b\ngot: x'] })
  })
  t.test('keeps the reasons of skips', async (t) => {
    const skips = 'ok 1 - a # SKIP no /dev/sev\nnot ok 2 - b # TODO later\n1..2\n'
    t.match(tap(skips), { passed: 0, failed: 0, skipped: 2, skips: ['a: no /dev/sev', 'b: to do: later'] })
  })
  t.test('counts a file that died after its last assertion', async (t) => {
    const died =
      '# Subtest: file\n    ok 1 - a\n    1..1\nnot ok 1 - file\n  ---\n  exitCode: 5\n  ...\n1..1\n'
    t.match(tap(died), { passed: 1, failed: 1, failures: ['file\nexitCode: 5'] })
  })
  t.test('takes no plan, a bail-out, and silence for failures', async (t) => {
    t.match(tap('ok 1 - a\n'), { passed: 1, failed: 1, failures: ['the TAP stream is incomplete'] })
    t.match(tap('ok 1 - a\nBail out! now\n'), { failed: 1, failures: ['bailed out: now'] })
    t.match(summarizeTap('npm ERR!\n'), { passed: 0, failed: 1 })
  })
})
