import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t from 'tap'
import type { RunEvent } from '../../run/events.ts'
import { claim, result, VARIANT } from '../testing/fake-run.ts'
import { HOSTILE_LINES, storeRun } from '../testing/stored-run.ts'
import { bootBars } from './boot-bars.ts'
import { readConsole } from './console-file.ts'
import { commandOf, readDetail } from './detail.ts'
import { readRun } from './run-record.ts'

function scratch(test: { teardown(undo: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'attestbed-record-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const RESULTS = [result({ dir: 'one' }), result({ scenario: 'a/b', outcome: 'fail', dir: 'two' })]

t.test('a stored run is read as it was, U+2028 and all', async (t) => {
  const directory = scratch(t)
  const stored = storeRun(directory, { results: RESULTS })
  const run = await readRun(directory)
  t.same(run.result.results, stored)
  t.same([run.ended, run.problems, run.endedAt - run.startedAt], [true, [], 60_000])
  t.match(run.host, { processor: 'a processor' })
  t.same((await readRun(join(directory, 'events.jsonl'))).result, run.result)
  t.same((await readRun(join(directory, 'result.json'))).result, run.result)
})

t.test('a torn last line costs that line alone, and is named', async (t) => {
  const directory = scratch(t)
  const stored = storeRun(directory, { results: RESULTS })
  const file = join(directory, 'events.jsonl')
  const text = readFileSync(file, 'utf8')
  const lastLine = text.lastIndexOf('\n', text.length - 2) + 1
  for (const keep of [1, 20, text.length - lastLine - 2]) {
    writeFileSync(file, text.slice(0, lastLine + keep))
    const run = await readRun(directory)
    t.same(run.result.results, stored, `${keep} bytes of the last line`)
    t.equal(run.ended, false)
    t.match(run.problems, [new RegExp(`events\\.jsonl:\\d+: cut off after ${keep} bytes`)])
  }
})

t.test('what had not ended when a run was killed is in error, neither passed nor failed', async (t) => {
  const directory = scratch(t)
  storeRun(directory, { results: RESULTS })
  const file = join(directory, 'events.jsonl')
  const lines = readFileSync(file, 'utf8').split('\n')
  const ended = lines.findIndex((line) => line.includes('"scenario-ended"'))
  writeFileSync(file, `${lines.slice(0, ended).join('\n')}\n`)
  const { result: cut } = await readRun(directory)
  t.match(cut.results, [
    { outcome: 'error', reason: /^interrupted: .* while this ran$/, attempts: 1 },
    { outcome: 'error', reason: /^interrupted: .* before this began$/, attempts: 0 },
  ])
})

t.test("a scenario's own stream has ended with its result, and not with its header alone", async (t) => {
  const directory = scratch(t)
  const [stored = result()] = storeRun(directory, { results: RESULTS })
  t.match(await readRun(stored.dir), { ended: true, result: { results: [stored] } })
  const file = join(stored.dir, 'events.jsonl')
  const [header = '', started = ''] = readFileSync(file, 'utf8').split('\n')
  for (const left of [[header], [header, started]]) {
    writeFileSync(file, `${left.join('\n')}\n`)
    t.equal((await readRun(stored.dir)).ended, false, `${left.length} lines`)
  }
})

t.test('what ran is reported, whether or not the line that planned it could be read', async (t) => {
  const directory = scratch(t)
  const stored = storeRun(directory, { results: RESULTS })
  const file = join(directory, 'events.jsonl')
  const [head = '', ...lines] = readFileSync(file, 'utf8').split('\n')
  const ended = lines.findLastIndex((line) => line.includes('"scenario-ended"'))
  const unplanned = JSON.stringify({ ...JSON.parse(head), planned: [] })
  writeFileSync(file, `${[unplanned, ...lines.slice(0, ended)].join('\n')}\n`)
  const { result: cut } = await readRun(directory)
  t.same(cut.results[0], stored[0])
  const started = lines.slice(0, ended).filter((line) => line.includes('"scenario-started"')).length
  t.equal(cut.results.length, started, 'what had begun and not ended is there as an error')
  writeFileSync(file, [JSON.stringify({ ...JSON.parse(head), jobs: 'x' }), ...lines].join('\n'))
  await t.rejects(readRun(directory), { name: 'FormatError', code: 'bad-value', message: /begins with/ })
})

t.test(
  'a stream of another version is refused with both versions, and nothing of it is guessed',
  async (t) => {
    const directory = scratch(t)
    storeRun(directory, { results: RESULTS })
    const file = join(directory, 'events.jsonl')
    const text = readFileSync(file, 'utf8')
    for (const [version, hint] of [
      [1, /that wrote it$/],
      [5, /or a newer one$/],
    ] as const) {
      writeFileSync(file, text.replace('"version":4', `"version":${version}`))
      const message = new RegExp(`schema version ${version}; versions 2 to 4 are read`)
      await t.rejects(readRun(directory), { name: 'FormatError', code: 'bad-value', message, hint })
    }
    writeFileSync(file, text.replace('"version":4', '"version":2'))
    t.same((await readRun(directory)).problems, [], 'events of version 2 are events of today')
  },
)

t.test('lines that are no events are named and left out; the rest is read', async (t) => {
  const directory = scratch(t)
  const stored = storeRun(directory, { results: RESULTS })
  const file = join(directory, 'events.jsonl')
  const [first, ...rest] = readFileSync(file, 'utf8').split('\n')
  const junk = [
    'no json',
    '{"type":"nonsense"}',
    '{"type":"note","at":"x","key":"k","text":"t"}',
    '[]',
    'null',
  ]
  writeFileSync(file, [first, ...junk, ...rest].join('\n'))
  const run = await readRun(directory)
  t.same(run.result.results, stored)
  t.same(
    run.problems.map((problem) => /:(\d+): is no (JSON|event)/.exec(problem)?.slice(1)),
    [
      ['2', 'JSON'],
      ['3', 'event'],
      ['4', 'event'],
      ['5', 'event'],
      ['6', 'event'],
    ],
  )
})

t.test('what is no run says so', async (t) => {
  const directory = scratch(t)
  await t.rejects(readRun(directory), {
    code: 'bad-value',
    message: /neither events\.jsonl nor result\.json/,
  })
  await t.rejects(readRun(join(directory, 'absent')), { code: 'bad-value', message: /no such file/ })
  const events = join(directory, 'events.jsonl')
  for (const text of ['', '{}\n', '\x7fELF\n', '[1]\n', '{"type":"run-started"}\n']) {
    writeFileSync(events, text)
    await t.rejects(readRun(directory), { name: 'FormatError', code: 'bad-magic' }, JSON.stringify(text))
  }
  rmSync(events)
  writeFileSync(join(directory, 'result.json'), '{"results":[{}]}')
  await t.rejects(readRun(directory), { name: 'FormatError', message: /is no result of a run: results\.0\./ })
})

t.test('consoles', async (t) => {
  const directory = scratch(t)
  const raw = join(directory, 'console.raw')
  const store = (bytes: Buffer, times: string): void => {
    writeFileSync(raw, bytes)
    writeFileSync(join(directory, 'console.times'), times)
  }
  t.test('give plain lines with the times at which they came', async (t) => {
    store(Buffer.from('one\r\ntwo\r\nthr'), '[5,7]\n[40,8]\n')
    t.same(await readConsole(raw), { lines: ['one', 'two', 'thr'], steps: [5, 35, 0] })
  })
  t.test('never drive a terminal, whatever the guest sends', async (t) => {
    store(
      Buffer.concat([Buffer.from(HOSTILE_LINES.join('\n')), Buffer.from([0x0a, 0xff, 0xc3, 0x28, 0x0a])]),
      '',
    )
    const { lines } = await readConsole(raw)
    for (const line of lines) t.notMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    t.match(lines.at(-1), '\\xff\\xc3(')
    t.match(lines[5], '\\u{2028}')
  })
  t.test(
    'of a hundred megabytes show their begin and their end, and say what is only in the file',
    async (t) => {
      const line = `${'x'.repeat(99)}\n`
      store(Buffer.from(`first\n${line.repeat(100_000)}last\n`), '[1,10000000]\n[9,11]\n')
      const { lines, steps, omitted } = await readConsole(raw)
      t.equal(lines[0], 'first')
      t.equal(lines.at(-1), 'last')
      t.equal(steps.length, lines.length)
      const shown = lines.reduce((sum, each) => sum + each.length + 1, 0)
      t.ok(omitted && Math.abs(omitted.bytes + shown - 10_000_011) < 10)
      t.ok(omitted && omitted.at > 0 && omitted.at < lines.length)
    },
  )
  t.test('are read as far as they go where their times are damaged or missing', async (t) => {
    store(Buffer.from('a\nb\nc\n'), '[1,2]\ngarbage\n[7,1e9]\n[9,')
    t.same(await readConsole(raw), { lines: ['a', 'b', 'c'], steps: [1, 0, 0] })
    rmSync(join(directory, 'console.times'))
    t.same((await readConsole(raw)).lines, ['a', 'b', 'c'])
  })
  t.test('put together a line that comes byte by byte', async (t) => {
    store(Buffer.from('a\nslow line\nb'), '[1,2]\n[2,1]\n[3,1]\n[4,1]\n[5,7]\n[9,1]\n')
    t.same(await readConsole(raw), { lines: ['a', 'slow line', 'b'], steps: [1, 4, 0] })
  })
  t.test('cut a line that never ends', async (t) => {
    store(Buffer.from('y'.repeat(5000)), '[1,5000]\n')
    t.match((await readConsole(raw)).lines, [/^y{2000}… \(3000 bytes more\)$/])
  })
})

t.test('the boots of a VM: resets in one QEMU, a relaunch, and how each ended', async (t) => {
  const at = (seconds: number) => ({ at: 1000 * seconds, key: 'k', vm: 'owner' })
  const events: readonly RunEvent[] = [
    { type: 'vm-started', ...at(1), argv: [] },
    { type: 'phase', ...at(1), phase: 'firmware' },
    { type: 'phase', ...at(3), phase: 'kernel' },
    { type: 'phase', ...at(3), phase: 'kernel' },
    { type: 'qmp-event', ...at(5), name: 'RESET', data: '{}' },
    { type: 'phase', ...at(5), phase: 'firmware' },
    { type: 'phase', ...at(6), phase: 'userspace' },
    { type: 'vm-ended', ...at(8), kind: 'killed', reason: '', consoleTail: '' },
    { type: 'vm-started', ...at(9), argv: [] },
    { type: 'phase', ...at(10), phase: 'kernel' },
  ]
  const [track] = bootBars(events, { since: 0, until: 12_000 })
  t.match(track?.boots, [
    { number: 1, process: 1, from: 1000, to: 5000, ending: 'reset' },
    { number: 2, process: 1, from: 5000, to: 8000, ending: 'killed' },
    { number: 3, process: 2, from: 9000, to: 12_000, ending: 'running' },
  ])
  t.same(track?.boots[0]?.segments, [
    { phase: 'firmware', from: 1000, to: 3000 },
    { phase: 'kernel', from: 3000, to: 5000 },
  ])
  const forged: RunEvent = { type: 'phase', ...at(4), phase: 'firmware' }
  const [told] = bootBars(events.toSpliced(4, 0, forged), { since: 0, until: 12_000 })
  t.equal(told?.boots.length, 3, 'a guest that prints what firmware prints has not been reset')
})

t.test('details of a run', async (t) => {
  const directory = scratch(t)
  const [stored = result()] = storeRun(directory, { results: RESULTS })
  const detail = await readDetail(stored)
  t.equal(detail.vms[0]?.boots.length, 2)
  t.match(detail.consoles, [{ vm: 'owner', process: 1, from: 100 }])
  t.match(detail.processes[0]?.materials, [{ role: 'firmware', bytes: 3653632 }])
  t.match(detail.marks, [{ kind: 'qmp', text: 'RESET {"guest":true}' }, { kind: 'end' }])
  t.same(detail.problems, [])
  t.test('of a run that was moved are in it, with the states that it drew', async (t) => {
    const moved = join(scratch(t), 'moved')
    cpSync(directory, moved, { recursive: true })
    const sampling = { seed: 7, states: { first: 2, last: 5 } }
    const events = join(moved, basename(stored.dir), 'events.jsonl')
    const unsampled = readFileSync(events, 'utf8')
    writeFileSync(join(moved, 'run.json'), JSON.stringify({ sampling }))
    t.notMatch((await readDetail(stored, moved)).command, /seed/, 'of a scenario that boots no states')
    writeFileSync(events, unsampled.replace('"version":4', '"version":3'))
    t.match((await readDetail(stored, moved)).command, /--seed 7/, 'of a stream that did not say so yet')
    writeFileSync(events, unsampled.replace('"attempt":1', '"attempt":1,"isSampled":true'))
    writeFileSync(join(moved, 'run.json'), JSON.stringify({ sampling }))
    const away = await readDetail({ ...stored, dir: join('/nowhere', basename(stored.dir)) }, moved)
    t.match(away, { problems: [], directory: join(moved, 'one'), command: /--seed 7 --states 2-5$/ })
    writeFileSync(join(moved, 'run.json'), JSON.stringify({ sampling: { ...sampling, order: 'f62a05c2' } }))
    t.match((await readDetail(stored, moved)).command, /--states 2-5 --order f62a05c2$/)
    writeFileSync(join(moved, 'run.json'), '{"sampling":{"seed":"$(x)","states":"all"}}')
    t.notMatch((await readDetail(stored, moved)).command, /seed/)
  })
  t.test('of a directory that is gone are what the result says, and that', async (t) => {
    rmSync(join(directory, 'one'), { recursive: true })
    t.match(await readDetail(stored), { consoles: [], problems: [/^what happened is not known: ENOENT/] })
  })
  t.test('leave its directory by no name of a VM', async (t) => {
    const [, other = result()] = storeRun(directory, { results: RESULTS })
    const outside = { type: 'vm-started', at: 0, key: 'k', vm: '../two/owner', argv: [] }
    appendFileSync(join(other.dir, 'events.jsonl'), `${JSON.stringify(outside)}\n`)
    t.equal((await readDetail(other)).consoles.length, 1)
  })
})

t.test('the command that runs a point again names every axis, and is safe to paste', async (t) => {
  t.equal(
    commandOf(result({ claims: [claim()] })),
    'attestbed run encrypted-root/stateful-vtpm --platform tcg --vtpm stateful --firmware ovmf --image debian --vcpus 1 --memory 1024M',
  )
  const variant = { ...VARIANT, image: "./it's; rm -rf.yaml", qemu: '/opt/qemu' }
  t.match(commandOf(result({ variant })), `--image './it'\\''s; rm -rf.yaml' --qemu /opt/qemu`)
  const emulated = { ...VARIANT, platform: 'sev-snp', emulatedOn: 'tcg' } as const
  t.match(commandOf(result({ variant: emulated })), '--platform sev-snp --emulated-on tcg --vtpm')
})
