import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import t from 'tap'
import { Parser } from 'tap-parser'
import type { FoundPoint } from '../bundle/find-run.ts'
import { makeBundle } from '../bundle/make.ts'
import { htmlReport } from '../report/html/page.ts'
import { readRun } from '../report/record/run-record.ts'
import { result } from '../report/testing/fake-run.ts'
import { storeRun } from '../report/testing/stored-run.ts'
import { wantedReports } from './report-flags.ts'

// Programs and a bundler on a busy machine.
t.setTimeout(120_000)

const FAKE_RUN = join(import.meta.dirname, 'testing/fake-run-program.ts')
const MAIN = join(import.meta.dirname, 'main.ts')
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/attestbed/node')
/** Of the fake run: one of its claims is false. */
const CLAIM_FALSE = 1

const directory = mkdtempSync(join(tmpdir(), 'attestbed-report-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const cache = join(directory, 'cache')

function start(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  const env = { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE: COMPILE_CACHE, ATTESTBED_CACHE: cache }
  return spawn(process.execPath, [program, ...args], { env })
}

async function end(child: ChildProcessWithoutNullStreams) {
  const collected = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (collected.stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (collected.stderr += chunk))
  child.stdin.end()
  const [code] = await once(child, 'close')
  return { code, ...collected }
}

const fakeRun = (...args: readonly string[]) => end(start(FAKE_RUN, args))
const cli = (...args: readonly string[]) => end(start(MAIN, args))

function fresh(name: string): string {
  const path = join(directory, name)
  mkdirSync(path)
  return path
}

t.test('--report', async (t) => {
  t.same(wantedReports('junit=a=b.xml,tap'), [{ kind: 'junit', file: 'a=b.xml' }, { kind: 'tap' }])
  for (const [text, message] of [
    ['xml', /"xml" is none of html, junit/],
    ['junit=', /names no file/],
    ['html', /html needs a file/],
    ['tap,json', /tap and json would be mixed/],
    ['', /"" is none of/],
  ] as const)
    t.throws(() => wantedReports(text), { message })
})

t.test('run names its HTML report, and writes the others where they were asked for', async (t) => {
  const run = fresh('run')
  const junit = join(run, 'j.xml')
  const { code, stdout, stderr } = await fakeRun(`--in=${run}`, `--report=junit=${junit},tap`)
  t.equal(code, CLAIM_FALSE)
  const parser = new Parser({ strict: true })
  parser.end(stdout)
  t.equal(parser.results?.count, 4, 'stdout is TAP and nothing else')
  t.match(readFileSync(junit, 'utf8'), '<testsuites')
  t.match(stderr, `Report: ${join(run, 'report.html')}\n`)
  t.match(readFileSync(join(run, 'report.html'), 'utf8'), /^<!doctype html>[\s\S]*<\/html>\n$/)
})

t.test(
  'for GitHub, no line of a guest is a command, neither beside the annotations nor in them',
  async (t) => {
    const { stdout, stderr } = await fakeRun(`--in=${fresh('github')}`, '--report=github')
    t.match(stderr, ': :stop-commands::x', 'the guest says it in the table')
    t.notMatch(stderr, /^\s*::/m)
    t.notMatch(stdout, /^(?!::(error|warning|notice) ).+/m)
    t.notMatch(stdout + stderr, /##\[/)
  },
)

t.test('a run that is refused leaves no report of an earlier one', async (t) => {
  const junit = join(fresh('refused'), 'j.xml')
  writeFileSync(junit, 'old')
  await cli('run', 'no-such-scenario', '--report', `junit=${junit}`)
  t.match(readFileSync(junit, 'utf8'), / errors="1"/)
})

t.test(
  'a report that cannot be written is named, and neither the exit code nor the table changes',
  async (t) => {
    const run = fresh('full')
    const { code, stdout, stderr } = await fakeRun(
      `--in=${run}`,
      '--report=junit=/dev/full,tap=/absent/x.tap,html=/dev/full',
    )
    t.equal(code, CLAIM_FALSE)
    t.match(stdout, '1 passed, 1 failed, 1 in error, 1 skipped of 4 scenarios')
    t.match(stderr, /the JUnit report \/dev\/full stopped working, the run goes on: ENOSPC/)
    t.match(stderr, /the TAP report \/absent\/x\.tap stopped working, the run goes on: ENOENT/)
    t.match(stderr, /cannot write the report \/dev\/full, the run is not affected: ENOSPC/)
    t.match(stdout, `Report: ${join(run, 'report.html')}\n`, 'the others are written')
  },
)

t.test('a run directory that cannot be written costs the record, not the run', async (t) => {
  const blocked = join(fresh('blocked'), 'file')
  writeFileSync(blocked, '')
  const { code, stdout, stderr } = await fakeRun(`--in=${blocked}`)
  t.equal(code, CLAIM_FALSE)
  t.match(stdout, 'of 4 scenarios')
  t.match(stderr, /the run directory stopped working, the run goes on/)
  t.match(stderr, /cannot write the HTML report, the run is not affected/)
})

t.test('a reader of the report that goes away does not end the run', async (t) => {
  const run = fresh('pipe')
  const child = start(FAKE_RUN, [`--in=${run}`, '--report=tap'])
  child.stdout.destroy()
  const { code, stderr } = await end(child)
  t.equal(code, CLAIM_FALSE)
  t.match(stderr, 'of 4 scenarios')
})

t.test('report makes any view later, of several runs as of one', async (t) => {
  const runs = ['r1', 'r2'].map(fresh)
  for (const [number, run] of runs.entries())
    storeRun(run, { results: [result({ scenario: `s/${number}`, dir: 'one' })] })
  const [tap, junit, json, html] = await Promise.all([
    cli('report', ...runs, '--format', 'tap'),
    cli('report', ...runs, '--format', 'junit', '-o', join(directory, 'both.xml')),
    cli('report', ...runs, '--format', 'json'),
    cli('report', ...runs),
  ])
  t.match(tap.stdout, /ok 2 - s\/1 /)
  t.match([junit.code, junit.stdout], [0, ''])
  t.match(readFileSync(join(directory, 'both.xml'), 'utf8'), '<testsuites name="attestbed" tests="2"')
  t.equal(JSON.parse(json.stdout).results.length, 2)
  t.same(html, { code: 0, stdout: `${join(runs[0] ?? '', 'report.html')}\n`, stderr: '' })
})

/** One of the page's pieces of data. */
function blockOf(html: string, id = 'block-0') {
  const [, block = ''] = new RegExp(`id="${id}">([^<]*)<`).exec(html) ?? []
  return JSON.parse(inflateRawSync(Buffer.from(block, 'base64')).toString())
}

function bundled(file: string, found: FoundPoint) {
  return makeBundle({ found, file, include: [], checkout: directory, version: '0', packages: [] })
}

t.test('report takes a bundle as it takes a run, wherever its paths lay', async (t) => {
  const run = fresh('bundled')
  const broken = [{ reason: 'qemu-start: no', seconds: 1, dir: join(run, 'one.attempt-1'), claims: [] }]
  const [stored = result()] = storeRun(run, { results: [result({ outcome: 'fail', dir: 'one', broken })] })
  const point = join(directory, 'elsewhere')
  renameSync(stored.dir, point)
  appendFileSync(join(point, 'events.jsonl'), 'no json\n')
  const file = join(directory, 'b.attestbed')
  await bundled(file, { run, point, result: stored })
  rmSync(point, { recursive: true })
  rmSync(run, { recursive: true })
  const json = await cli('report', file, '--format', 'json')
  const { scenario } = stored
  t.match(JSON.parse(json.stdout).results, [{ scenario, outcome: 'fail', dir: file }])
  const problem = new RegExp(`^${file}/run/events\\.jsonl:\\d+: is no JSON`)
  const { code, stdout, stderr } = await cli('report', file)
  t.same([code, stdout], [0, `${file}.html\n`])
  t.match(stderr.replace('attestbed: ', ''), problem)
  const html = readFileSync(`${file}.html`, 'utf8')
  const [detail] = blockOf(html)
  const index = blockOf(html, 'index')
  t.match(index, { runs: [{ directory: file }], problems: [problem] })
  t.notMatch(
    JSON.stringify([index, detail, json.stdout, stderr]),
    new RegExp(`attestbed-bundle-|${run}/`),
    'a path that is gone, or of the host that it came from, is nowhere',
  )
  t.match(detail, { problems: [problem], directory: file, command: `attestbed repro ${file}` })
  t.match(detail.consoles, [{ file: `run/owner/boot-1/console.raw in ${file}` }])
  t.notOk('makeBundle' in detail)
  writeFileSync(file, readFileSync(file).subarray(0, 200))
  t.match(await cli('report', file), { code: 5, stderr: /FormatError \[truncated\]/ })
})

t.test("a stranger's bundle shows no run of this host: whatever paths it has, none is opened", async (t) => {
  const own = fresh('own')
  const [secret = result()] = storeRun(own, {
    results: [result({ dir: 'secret' })],
    lines: () => ['a secret of this host'],
  })
  const point = fresh('stranger')
  const events = join(point, 'events.jsonl')
  const bundle = join(directory, 'stranger.attestbed')
  const stored = readFileSync(join(secret.dir, 'events.jsonl'), 'utf8')
  const line = (text: string) => text.split('\n').find((each) => each.includes('"scenario-ended"')) ?? ''
  const another = line(stored).replace('"key":"k0"', '"key":"k1"')
  for (const [text, what] of [
    [readFileSync(join(own, 'events.jsonl'), 'utf8'), 'a whole run'],
    [`${stored}${another}\n`, '2 scenarios'],
  ] as const) {
    writeFileSync(events, text)
    await bundled(bundle, { run: point, point, result: secret })
    const { code, stderr } = await cli('report', bundle)
    t.equal(code, 5, what)
    t.match(
      stderr,
      new RegExp(`FormatError \\[bad-value\\]: .* is of ${what}, a bundle is about one scenario`),
    )
    t.notOk(existsSync(`${bundle}.html`))
  }
  rmSync(events)
  writeFileSync(join(point, 'result.json'), JSON.stringify({ results: [secret] }))
  await bundled(bundle, { run: point, point, result: secret })
  t.match(await cli('report', bundle), { code: 5, stderr: /is of a whole run/ })
  const forged = { ...(await readRun(own)), directory: point, bundle }
  const html = await htmlReport({ runs: [forged], client: { script: '', style: '' } })
  t.same(blockOf(html)[0].consoles, [], 'nor where the page alone would have to see to it')
})

t.test('what a signal ends removes what it had begun', async (t) => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const left = fresh(`left-${signal}`)
    const program = join(directory, `${signal}.ts`)
    const module = (path: string) => JSON.stringify(join(import.meta.dirname, path))
    writeFileSync(
      program,
      [
        `import { exitOnSignals } from ${module('interruption.ts')}`,
        `import { removeAtExit } from ${module('../system/leftovers.ts')}`,
        `exitOnSignals(); removeAtExit(${JSON.stringify(left)})`,
        `process.stdin.resume(); process.stdout.write('ready')`,
      ].join('\n'),
    )
    const child = spawn(process.execPath, [program])
    await once(child.stdout, 'data')
    child.kill(signal)
    t.same(await once(child, 'close'), [code, null])
    t.notOk(existsSync(left))
  }
})

t.test(
  'report of a torn stream says what is missing; of another version it is refused, and leaves nothing',
  async (t) => {
    const run = fresh('torn')
    storeRun(run, { results: [result({ dir: 'one' })] })
    const events = join(run, 'events.jsonl')
    const text = readFileSync(events, 'utf8')
    writeFileSync(events, text.slice(0, -10))
    const torn = await cli('report', run, '--format', 'tap')
    t.equal(torn.code, 0)
    t.match(torn.stdout, 'ok 1 - ')
    t.match(torn.stderr, /events\.jsonl:\d+: cut off after \d+ bytes/)
    const junit = await cli('report', run, '--format', 'junit')
    t.match(junit.stdout, /errors="1"/, 'that it was cut short is no success')
    writeFileSync(events, text.replace('"version":4', '"version":99'))
    const newer = await cli('report', run)
    t.equal(newer.code, 5)
    t.match(newer.stderr, /FormatError \[bad-value\]: .* schema version 99; versions 2 to 4 are read\nhint: /)
    t.notOk(existsSync(join(run, 'report.html')))
  },
)

t.test('report on a full disk is exit 3', async (t) => {
  const run = fresh('disk')
  storeRun(run, { results: [result({ dir: '' })] })
  t.match(await cli('report', run, '-o', '/dev/full'), { code: 3, stderr: 'HostError [disk-full]' })
})

t.test('wrong usage of report', async (t) => {
  const cases = [
    [['report'], /missing required argument 'run'/],
    [['report', '/nowhere'], /cannot report on \/nowhere: there is no such file or directory/],
    [['report', directory, '--format', 'pdf'], /Allowed choices are html, junit/],
    [['report', directory, '--format', 'tap', '--compare', directory], /--compare is for --format html/],
  ] as const
  for (const [args, message] of cases) {
    const { code, stderr } = await cli(...args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, message)
  }
})

t.test(
  'what bundling the page made is kept, and made again where it is damaged or cannot be kept',
  async (t) => {
    const run = fresh('cached')
    storeRun(run, { results: [result({ dir: '' })] })
    const page = async (): Promise<string> => {
      t.match(await cli('report', run), { code: 0 })
      return readFileSync(join(run, 'report.html'), 'utf8')
    }
    const first = await page()
    const kept = join(cache, 'report-client')
    t.ok(existsSync(kept))
    const [name = ''] = readdirSync(kept)
    writeFileSync(join(kept, name), '{"script":1}')
    t.equal(await page(), first)
    rmSync(kept, { recursive: true })
    writeFileSync(kept, 'in the way')
    t.equal(await page(), first)
  },
)
