import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { type Figure, type Measure, standingOf } from './figure.ts'
import { watchPrograms } from './process-watch.ts'
import { benchDocument, measureText } from './report.ts'
import { selectMeasures } from './select.ts'
import { expandList } from './side-by-side.ts'
import { summarize } from './statistics.ts'

t.test('a summary is the median, the extremes and how far they are apart', async (t) => {
  t.strictSame(summarize([3]), { median: 3, min: 3, max: 3, noise: 0 })
  t.strictSame(summarize([5, 1, 4, 2]), { median: 3, min: 1, max: 5, noise: 4 / 3 })
  t.strictSame(summarize([10, 9, 1]), { median: 9, min: 1, max: 10, noise: 1 })
  t.throws(() => summarize([]), RangeError)
})

const figure = (samples: readonly number[], limit?: Figure['limit']): Figure => ({
  ...{ name: 'thing', unit: 's', samples },
  ...(limit && { limit }),
})

t.test('the median decides what is reached, and samples on the other side make it close', async (t) => {
  t.strictSame(standingOf(figure([1, 2, 3], { atMost: 2 })), { reached: true, close: true })
  t.strictSame(standingOf(figure([1, 2], { atMost: 2 })), { reached: true, close: false })
  t.strictSame(standingOf(figure([3, 4], { atMost: 2 })), { reached: false, close: false })
  t.strictSame(standingOf(figure([99, 110, 120], { atLeast: 100 })), { reached: true, close: true })
  t.strictSame(standingOf(figure([90], { atLeast: 100 })), { reached: false, close: false })
  t.equal(standingOf(figure([1])), undefined)
})

t.test(
  'the report says of each promise whether it was reached, and why a measure has no figures',
  async (t) => {
    const text = measureText({
      ...{ id: 'boot', title: 'a boot', seconds: 12 },
      result: {
        figures: [figure([61, 59, 62], { atMost: 60 }), figure([1.04], { atMost: 2 }), figure([7])],
        notes: ['noisy \x1b[2J'],
      },
    })
    t.match(text, /^\nboot: a boot \(12 s\)\n/)
    t.match(
      text,
      / {2}thing +61[.]0 s +59[.]0-62[.]0 ±2 % n=3 +at most 60 s: NOT REACHED, within the noise\n/,
    )
    t.match(text, / {2}thing +1[.]0 s +1 sample +at most 2 s: reached\n/)
    t.match(text, / {4}thing +7[.]0 s +1 sample\n/)
    t.notOk(text.includes('\x1b'), 'nothing of it drives the terminal')
    const broken = { id: 'x', title: 'y', seconds: 0, result: new Error('QEMU \x1b[2J ended') }
    t.match(measureText(broken), /\n {2}ERROR: QEMU \\x1b\[2J ended\n/)
  },
)

t.test('the document has the samples and what follows from them', async (t) => {
  const machine = {
    ...{ cores: 2, processor: 'p', memoryMiB: 1, load: [0, 0, 0] },
    ...{ accelerator: 'tcg', accelerators: '' },
  }
  const measures = [
    { id: 'a', title: 'A', seconds: 1, result: { figures: [figure([1, 3], { atMost: 1 })] } },
    { id: 'b', title: 'B', seconds: 1, result: new Error('no') },
  ]
  t.match(benchDocument({ machine, measures }), {
    machine,
    measures: [
      { id: 'a', figures: [{ samples: [1, 3], median: 2, min: 1, max: 3, reached: false, close: true }] },
      { id: 'b', error: 'no' },
    ],
  })
})

t.test('measures are selected by id or by the first words of it', async (t) => {
  const measure = (id: string): Measure => ({ id, title: id, run: async () => ({ figures: [] }) })
  const all = ['start-up', 'boot-micro', 'boot-debian', 'two'].map(measure)
  const ids = (names: readonly string[]) => selectMeasures(all, names).map(({ id }) => id)
  t.strictSame(ids([]), ['start-up', 'boot-micro', 'boot-debian', 'two'])
  t.strictSame(ids(['two', 'boot']), ['boot-micro', 'boot-debian', 'two'])
  t.strictSame(ids(['boot-micro']), ['boot-micro'])
  t.throws(() => ids(['bot']), { message: /no measure is called "bot"; there are start-up, boot-micro/ })
})

t.test('a list of processors is expanded', async (t) => {
  t.strictSame(expandList('0-3,8'), [0, 1, 2, 3, 8])
  t.strictSame(expandList('5'), [5])
})

t.test('programs below a process are seen from outside, the awaited one last', async (t) => {
  // The outer shell stays; the inner one becomes the program, as behind a sandbox.
  const child = spawn('sh', ['-c', 'sh -c "exec tail -f /dev/null"; :'], { stdio: 'ignore', detached: true })
  const pid = child.pid ?? -1
  t.ok(pid > 1)
  t.teardown(() => process.kill(-pid, 'SIGKILL'))
  const before = Date.now()
  const programs = await watchPrograms(pid, { until: 'tail', timeoutMs: 20_000 })
  t.equal(programs.at(-1)?.name, 'tail')
  t.ok((programs.at(-1)?.firstSeen ?? 0) >= before)
})

t.test('a process that ends before the awaited program is an error', async (t) => {
  const child = spawn('true', { stdio: 'ignore' })
  await Promise.all([
    once(child, 'exit'),
    t.rejects(watchPrograms(child.pid ?? -1, { until: 'qemu-system-x86_64', timeoutMs: 20_000 }), {
      message: /ended before qemu-system-x86_64 was started/,
    }),
  ])
})
