import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import xterm from '@xterm/headless'
import t from 'tap'
import { LiveReporter } from './live.ts'
import { paletteFor } from './palette.ts'
import { endEvents, HOSTILE, MIXED, result, startEvents } from './testing/fake-run.ts'

/** A terminal that shows what a person would see, and counts the frames. */
class FakeTerminal {
  readonly #terminal: InstanceType<typeof xterm.Terminal>
  frames = 0
  #written: Promise<void> = Promise.resolve()

  constructor(columns: number, rows: number) {
    this.#terminal = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true, convertEol: true })
  }

  get columns(): number {
    return this.#terminal.cols
  }

  get rows(): number {
    return this.#terminal.rows
  }

  write(text: string): void {
    this.frames++
    this.#written = new Promise((resolve) => this.#terminal.write(text, resolve))
  }

  resize(columns: number, rows: number): void {
    this.#terminal.resize(columns, rows)
  }

  /** Lines with something on them, scrolled-away ones included. */
  async lines(): Promise<readonly string[]> {
    await this.#written
    const buffer = this.#terminal.buffer.active
    const all = Array.from(
      { length: buffer.length },
      (_, row) => buffer.getLine(row)?.translateToString(true) ?? '',
    )
    return all.filter((line) => line !== '')
  }

  async cursorHidden(): Promise<boolean> {
    await this.#written
    // No public API tells it.
    const core = (this.#terminal as unknown as { _core: { coreService: { isCursorHidden: boolean } } })._core
    return core.coreService.isCursorHidden
  }
}

const TWO = [result(), result({ scenario: 'encrypted-root/foreign-vtpm' })]

function view(output: FakeTerminal, now = 31_000): LiveReporter {
  return new LiveReporter({ output, palette: paletteFor({ isTTY: false }), now: () => now })
}

/** `announce` draws at once; no test waits for the clock. */
function drawNow(reporter: LiveReporter): void {
  reporter.announce('drawn')
}

t.test('a line a VM, with phase, time and the last console line, inside 80 columns', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  for (const event of startEvents(
    TWO,
    '',
    '[    1.000000] systemd[1]: \x1b[32mReached target\x1b[0m a.target',
  ))
    reporter.event(event)
  drawNow(reporter)
  const lines = await terminal.lines()
  t.match(lines[1], /stateful-vtpm +kernel +0:30 {2}systemd\[1\]: Reached target/)
  t.match(lines[2], /foreign-vtpm +kernel +0:30/)
  t.equal(lines[3], '2 running, 0 of 2 done, 0:31')
  t.equal(lines.length, 4)
  t.equal(await terminal.cursorHidden(), true)
  reporter.close()
  t.same(await terminal.lines(), ['drawn'], 'the region is erased, what was said stays')
  t.equal(await terminal.cursorHidden(), false)
})

t.test('frames replace each other', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  for (const event of startEvents(TWO, '')) reporter.event(event)
  for (let frame = 0; frame < 50; frame++) drawNow(reporter)
  const lines = await terminal.lines()
  t.equal(lines.filter((line) => line.includes('running')).length, 1)
  t.equal(lines.filter((line) => line.includes('kernel')).length, 2)
  reporter.close()
})

t.test('what a guest prints cannot move anything', async (t) => {
  for (const [columns, rows] of [
    [80, 24],
    [120, 30],
    [30, 5],
  ] as const) {
    const terminal = new FakeTerminal(columns, rows)
    const reporter = view(terminal)
    for (const event of startEvents(TWO, '', HOSTILE.replaceAll('\n', '\r') + 'x'.repeat(1e6)))
      reporter.event(event)
    drawNow(reporter)
    drawNow(reporter)
    const lines = await terminal.lines()
    t.equal(lines.filter((line) => line.includes('running')).length, 1, `${columns} columns`)
    t.equal(lines[0], 'drawn')
    t.notOk(lines.some((line) => line.startsWith('ok 1')))
    reporter.close()
  }
})

t.test('finished scenarios scroll away above', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  for (const event of [...startEvents(MIXED.results, ''), ...endEvents(MIXED)]) reporter.event(event)
  drawNow(reporter)
  reporter.close()
  const lines = await terminal.lines()
  t.same(
    lines.filter((line) => /^[A-Z]/.test(line)).map((line) => line.split(/ +/, 2).join(' ')),
    [
      'PASS encrypted-root/stateful-vtpm',
      'FAIL encrypted-root/sealed-by-guest',
      'ERROR encrypted-root/modified-uki',
      'SKIP encrypted-root/launch-digest',
    ],
  )
})

t.test('a narrower terminal leaves one region, not remains of the wider one', async (t) => {
  const terminal = new FakeTerminal(120, 24)
  const reporter = view(terminal)
  for (const event of startEvents(TWO, '', 'x'.repeat(300))) reporter.event(event)
  drawNow(reporter)
  await terminal.lines()
  terminal.resize(60, 24)
  drawNow(reporter)
  const lines = await terminal.lines()
  t.equal(lines.filter((line) => line.includes('running')).length, 1)
  t.equal(lines.filter((line) => line.includes('kernel')).length, 2)
  reporter.close()
})

t.test('more VMs than rows: the rest is counted', async (t) => {
  const many = Array.from({ length: 30 }, (_, index) => result({ scenario: `subject/number-${index}` }))
  const terminal = new FakeTerminal(80, 10)
  const reporter = view(terminal)
  for (const event of startEvents(many, '')) reporter.event(event)
  drawNow(reporter)
  t.match((await terminal.lines()).at(-1), '30 running (23 not shown), 0 of 30 done')
  reporter.close()
})

t.test('a noisy guest costs at most ten frames a second', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  for (const event of startEvents([result()], '')) reporter.event(event)
  const startedAt = performance.now()
  for (let line = 0; performance.now() - startedAt < 300; line++) {
    reporter.event({ type: 'console-line', at: 2000, key: 'k0', vm: 'owner', line: `line ${line}` })
    if (line % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  t.ok(terminal.frames >= 1, 'it is drawn while events come')
  t.ok(terminal.frames <= 4, `${terminal.frames} frames in 0.3 s`)
  reporter.close()
})

t.test('a VM that is driven shows its command, not the frames on its console', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  for (const event of startEvents([result()], '')) reporter.event(event)
  const vm = { at: 2000, key: 'k0', vm: 'owner' } as const
  reporter.event({ ...vm, type: 'guest-command', argv: ['findmnt', '-n', '\u001b[2J/'] })
  reporter.event({ ...vm, type: 'console-line', line: '3b4c627f39e16b76c777d44dad5a3dc1 S 0 0 - 0 - .' })
  drawNow(reporter)
  const shown = (await terminal.lines()).join('\n')
  t.match(shown, /\$ findmnt -n +\S*\/$/m, 'an argument cannot drive the terminal')
  t.notMatch(shown, '3b4c627f')
  reporter.event({ ...vm, type: 'phase', phase: 'firmware' })
  reporter.event({ ...vm, type: 'console-line', line: 'BdsDxe: loading Boot0002' })
  drawNow(reporter)
  t.match((await terminal.lines()).join('\n'), 'BdsDxe: loading')
  reporter.close()
})

t.test('materials that are built before the first scenario have a line', async (t) => {
  const terminal = new FakeTerminal(80, 24)
  const reporter = view(terminal)
  const [started] = startEvents(TWO, '')
  if (started) reporter.event(started)
  reporter.event({ type: 'run-note', at: 5, text: 'building debian: root file system' })
  drawNow(reporter)
  t.match((await terminal.lines())[1], /materials +preparing +0:31 {2}building debian: root file system/)
  reporter.close()
})

t.test('the cursor comes back when the process exits in the middle', async (t) => {
  const { spawn } = await import('node:child_process')
  const program = `
    const { LiveReporter } = await import(${JSON.stringify(new URL('./live.ts', import.meta.url).href)})
    const { paletteFor } = await import(${JSON.stringify(new URL('./palette.ts', import.meta.url).href)})
    const reporter = new LiveReporter({ output: process.stdout, palette: paletteFor({}) })
    reporter.event({ type: 'run-started', at: 0, version: 1, directory: '', planned: [], jobs: 1 })
    reporter.announce('x')
    process.exit(3)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const output = child.stdout.pipe(new PassThrough())
  let text = ''
  output.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  const [code] = await once(child, 'close')
  t.equal(code, 3)
  t.ok(text.lastIndexOf('\x1b[?25h') > text.lastIndexOf('\x1b[?25l'), 'shown after it was hidden')
})
