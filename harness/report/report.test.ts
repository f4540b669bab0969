import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { Test } from 'tap'
import { Parser } from 'tap-parser'
import { displayWidth } from '../base/text.ts'
import type { RunEvent } from '../run/events.ts'
import { labelsOf } from './labels.ts'
import { clock, cutStart, wrap } from './layout.ts'
import { canRedraw, paletteFor } from './palette.ts'
import { PlainReporter } from './plain.ts'
import { fanOut } from './reporter.ts'
import { RunFiles } from './run-files.ts'
import { assertResult, type TapAssertions } from './tap.ts'
import { claim, endEvents, HOSTILE, MIXED, result, startEvents, VARIANT } from './testing/fake-run.ts'
import { verdictTable } from './verdict-table.ts'

const palette = paletteFor({ isTTY: false })
/** Anything that could drive a terminal. */
const CONTROLS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/

function table(width = 80): string {
  return verdictTable(MIXED, { palette, width, elapsedMs: 125_000, directory: '/runs/1' })
}

t.test('the verdict table', async (t) => {
  t.test('fits its width, wide characters included, down to 40 columns', async (t) => {
    for (const width of [40, 60, 80, 120])
      for (const line of table(width).split('\n')) t.ok(displayWidth(line) <= width, `${width}: ${line}`)
  })
  t.test('shows expected and got of a false claim, and where to look', async (t) => {
    t.match(
      table(),
      /FAIL {2}emulated {3}the root unlocks from its vTPM\n +expected {2}unlocked\n +got {7}ok 1 - forged/,
    )
    t.match(table(), /see \/runs\/1\/stateful/)
  })
  t.test('shows why something was skipped or broke', async (t) => {
    t.match(table(), /SKIP {2}encrypted-root\/launch-digest/)
    t.match(table(), /skipped {3}hardware-required: every claim needs hardware/)
    t.match(table(), /because {3}panic: ok 1 - forged/)
  })
  t.test('says how many claims hardware proved', async (t) => {
    t.match(table(), 'Claims: 2 of 4 hold (0 proven by hardware, 2 emulated), 1 false, 1 skipped.')
    const proven = {
      results: [result({ claims: [claim({ basis: 'hardware' }), claim({ basis: 'predicted' })] })],
    }
    const words = verdictTable(proven, { palette, width: 80, elapsedMs: 0, directory: '' })
    t.match(words, '(1 proven by hardware, 1 predicted)')
  })
  t.test('sums up in one line', async (t) => {
    t.match(table(), '1 passed, 1 failed, 1 in error, 1 skipped of 4 scenarios in 2:05')
  })
  t.test('lets no guest text drive the terminal or stand at the start of a line', async (t) => {
    t.notMatch(table(), CONTROLS)
    t.notMatch(table(), /^(ok|not ok|Bail out!|1\.\.)/m)
  })
  t.test('tells retries, marks, and marks that are out of date', async (t) => {
    const broken = [{ reason: `qemu-start: ${HOSTILE}`, seconds: 1, dir: '/runs/1/a', claims: [] }]
    const results = [
      result({ attempts: 2, broken }),
      result({ outcome: 'fail', unstable: 'resets now and then', repetition: 3 }),
    ]
    const expired = [{ place: 'm.yaml:3:5', reason: 'old', until: '2026-01-01', variants: 2 }]
    const words = verdictTable({ results, expired }, { palette, width: 100, elapsedMs: 0, directory: '' })
    t.match(words, /PASS {2}encrypted-root\/stateful-vtpm 1:01, tried 2 times\n/)
    t.match(words, /try 1 +qemu-start: ok 1 - forged\n +Bail out!\n/, 'with the lines below its first')
    t.match(words, /FAIL {2}\S+ 1:01, unstable\n.*1024 MiB, no\. 3\n/)
    t.match(words, /unstable +resets now and then/)
    t.match(words, 'Retried after an error: 1 scenario, 1 time in all')
    t.match(words, 'Marked unstable: 1, of which 1 did not pass')
    t.match(words, /Out of date: m\.yaml:3:5 skips 2 until 2026-01-01 \(old\)/)
    t.notMatch(words, CONTROLS)
  })
  t.test('cuts a value of many lines', async (t) => {
    const noisy = { results: [result({ outcome: 'error', reason: 'x\n'.repeat(500), claims: [] })] }
    const text = verdictTable(noisy, { palette, width: 80, elapsedMs: 0, directory: '' })
    t.ok(text.split('\n').length < 30)
    t.match(text, /more lines in the run directory/)
  })
})

t.test('the plain view prints phases, notes and results, but no console', async (t) => {
  const written: string[] = []
  const view = new PlainReporter({ write: (text) => written.push(text), palette })
  const note: RunEvent = { type: 'note', at: 3000, key: 'k0', text: HOSTILE }
  const phase: RunEvent = { type: 'phase', at: 3000, key: 'k0', vm: 'owner', phase: 'kernel' }
  for (const event of [...startEvents(MIXED.results, ''), note, phase, ...endEvents(MIXED)]) view.event(event)
  const text = written.join('')
  t.match(text, /^\d\d:\d\d:\d\d encrypted-root\/stateful-vtpm: owner: kernel$/m)
  t.match(text, /^\d\d:\d\d:\d\d PASS {2}encrypted-root\/stateful-vtpm {2}1 of 1 claims {2}1:01$/m)
  t.equal(text.match(/stateful-vtpm: owner: kernel/g)?.length, 1, 'a phase that goes on is not repeated')
  t.equal(
    text.match(/forged/g)?.length,
    2,
    'from the note and the reason of the error, not from the consoles',
  )
  t.notMatch(text, CONTROLS)
  t.notMatch(text, /^(?!\d\d:\d\d:\d\d )./m, 'every line has a time')
})

t.test('a broken reporter is dropped, named once, and disturbs nobody', async (t) => {
  const seen: string[] = []
  const broken: string[] = []
  let calls = 0
  const bad = {
    name: 'bad',
    event: () => {
      calls++
      throw new Error('no')
    },
  }
  const good = {
    name: 'good',
    event: (event: RunEvent) => void seen.push(event.type),
    close: () => void seen.push('closed'),
  }
  const { sink, close } = fanOut([bad, good], (name) => broken.push(name))
  for (const event of endEvents({ results: [result()] })) sink(event)
  close()
  close()
  t.same(seen, ['scenario-ended', 'run-ended', 'closed'])
  t.same(broken, ['bad'])
  t.equal(calls, 1)
})

t.test('run files', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'report-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const results = [result({ dir: join(directory, 'one') }), result({ outcome: 'skip', dir: '' })]
  const files = new RunFiles()
  for (const event of startEvents(results.slice(0, 1), directory)) files.event(event)
  const between = readFileSync(join(directory, 'events.jsonl'), 'utf8')
  for (const event of endEvents({ results })) files.event(event)
  files.close()

  const lines = (file: string): RunEvent[] =>
    readFileSync(join(directory, file), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  t.test('keep every event but the console, the schema version first', async (t) => {
    t.match(lines('events.jsonl')[0], { type: 'run-started', version: 4 })
    t.match(lines('one/events.jsonl')[0], { version: 4 })
    t.same(
      lines('one/events.jsonl')
        .slice(1)
        .map(({ type }) => type),
      ['scenario-started', 'vm-started', 'phase', 'scenario-ended'],
    )
    t.equal(lines('events.jsonl').length, 7)
  })
  t.test('are on disk while the run goes on', async (t) => {
    t.match(between, /"phase":"kernel"/)
  })
  t.test('hold the results', async (t) => {
    const read = (file: string) => JSON.parse(readFileSync(join(directory, file), 'utf8'))
    t.same(read('result.json'), { results })
    t.same(read('one/result.json'), results[0])
  })
  t.test('are private', async (t) => {
    for (const file of ['events.jsonl', 'result.json', 'one/events.jsonl', 'one/result.json'])
      t.equal(statSync(join(directory, file)).mode & 0o777, 0o600, file)
    t.equal(statSync(join(directory, 'one')).mode & 0o777, 0o700)
  })
})

t.test(
  'a result as TAP: nothing that a guest prints becomes a test point, a plan or a bail-out',
  async (t) => {
    // Its assertions come from plugins, which the type of the bare class does not name.
    const test = new Test({ name: 'inner' }) as Test & TapAssertions
    let output = ''
    test.on('data', (text: string) => {
      output += text
    })
    for (const each of MIXED.results) assertResult(test, each)
    test.end()
    await test.concat().catch(() => undefined)
    const points: { ok: boolean; skip: unknown; name: string }[] = []
    const parser = new Parser()
    parser.on('assert', (point) => points.push(point))
    let whole: { readonly bailout?: unknown; readonly ok?: boolean } = {}
    parser.on('complete', (complete) => {
      whole = complete
    })
    parser.end(output)
    t.same(
      points.map(({ ok, skip }) => [ok, Boolean(skip)]),
      [
        [true, false],
        [false, false],
        [true, false],
        [false, false],
        [true, true],
        [true, true],
      ],
    )
    t.match(points[4], { skip: /needs hardware/ })
    t.equal(whole.bailout, false)
    t.equal(whole.ok, false)
    t.notMatch(output, CONTROLS)
  },
)

t.test('labels name only the axes that tell points of one scenario apart', async (t) => {
  const stateless = { ...VARIANT, vtpm: 'stateless' as const }
  const labels = labelsOf([
    { key: 'a', scenario: 'x/one', variant: VARIANT },
    { key: 'b', scenario: 'x/one', variant: stateless },
    { key: 'c', scenario: 'x/two', variant: stateless },
  ])
  t.same([...labels.values()], ['x/one (stateful vTPM)', 'x/one (stateless vTPM)', 'x/two'])
})

t.test('a round more, and an attempt more, in logs and run files', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const lines: string[] = []
  const plain = new PlainReporter({ write: (text) => lines.push(text), palette })
  const files = new RunFiles()
  const first = join(directory, 'a')
  const second = join(directory, 'a.attempt-2')
  const entry = { key: 'a#1', scenario: 'x/one', variant: VARIANT, repetition: 1 }
  const started = {
    type: 'scenario-started',
    at: 0,
    key: 'a#1',
    scenario: 'x/one',
    title: '',
    variant: VARIANT,
  } as const
  const events: readonly RunEvent[] = [
    { type: 'run-started', at: 0, version: 4, directory, planned: [entry], jobs: 1 },
    { ...started, directory: first, attempt: 1 },
    {
      type: 'attempt-ended',
      at: 0,
      key: 'a#1',
      result: result({ outcome: 'error', reason: HOSTILE, dir: first }),
    },
    { ...started, directory: second, attempt: 2 },
    { type: 'scenario-ended', at: 0, key: 'a#1', result: result({ attempts: 2, dir: second }) },
    { type: 'run-extended', at: 0, planned: [{ ...entry, key: 'a#2', repetition: 2 }] },
    { ...started, key: 'a#2', directory: '', attempt: 1 },
  ]
  for (const event of events) for (const view of [plain, files]) view.event(event)
  files.close()
  const text = lines.join('')
  t.match(text, /x\/one \(no\. 1\): broke, and is tried again: ok 1 - forged/)
  t.match(text, /x\/one \(no\. 1\): started, attempt 2/)
  t.match(text, /1 more to run: nothing has failed yet\n\S+ x\/one \(no\. 2\): started\n/)
  t.notMatch(text, CONTROLS)
  const read = (folder: string) => JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'))
  t.match([read(first), read(second)], [{ outcome: 'error' }, { outcome: 'pass', attempts: 2 }])
})

t.test('colours and redrawing are for terminals that have them', async (t) => {
  t.ok(canRedraw({ isTTY: true }, { TERM: 'xterm' }))
  t.match(paletteFor({ isTTY: true }, { TERM: 'xterm' }).strong('x'), '\x1b[')
  for (const [output, environment] of [
    [{ isTTY: false }, {}],
    [{ isTTY: true }, { NO_COLOR: '1' }],
    [{ isTTY: true }, { TERM: 'dumb' }],
  ] as const) {
    t.notOk(canRedraw(output, environment))
    t.equal(paletteFor(output, environment).strong('x'), 'x')
  }
})

t.test('layout', async (t) => {
  t.same(wrap('one two three', 7), ['one two', 'three'])
  t.same(wrap('日本語日本語', 5), ['日本', '語日', '本語'])
  t.same(wrap('', 5), [''])
  t.equal(cutStart('encrypted-root/foreign-vtpm', 14), '…/foreign-vtpm')
  t.equal(cutStart('short', 14), 'short')
  t.equal(clock(3_723_000), '1:02:03')
  t.equal(clock(7_000), '0:07')
})
