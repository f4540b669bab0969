/**
 * From `attestbed run` to QEMU's exec with a warm cache, as a user sees it: the command is started like from a shell and
 * watched from outside, and interrupted once QEMU is there. The end is the moment at which the last program of a chain
 * sandbox -> gate -> QEMU has QEMU's name, so the exec itself, seen within 2 ms. The parts come from the run's own
 * events.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunEvent, VtpmKind } from '../../harness/run/events.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Figure, Measure, MeasureOptions } from './figure.ts'
import { type SeenProgram, watchPrograms } from './process-watch.ts'
import { BENCH_PLATFORM, temporaryDirectory } from './workbench.ts'

const LIMIT_MS = 300
const REPEAT = 10
const CHECKOUT = join(import.meta.dirname, '../..')
const LAUNCHER = join(CHECKOUT, 'scripts/attestbed')
const TIMEOUT_MS = 120_000
const STOP_MS = 20_000

export const startUp: Measure = {
  id: 'start-up',
  title: "from attestbed run to QEMU's exec, everything in the cache",
  run: async (options) => {
    await using scope = new Scope('start-up')
    const directory = await temporaryDirectory(scope)
    const figures: Figure[] = [await versionFigure(options)]
    for (const vtpm of ['none', 'stateful'] as const)
      figures.push(...(await figuresOf(vtpm, { ...options, directory })))
    return { figures, notes: ["exec: the process has QEMU's name; seen from outside, some 2 ms late"] }
  },
}

interface Sample {
  readonly total: number
  readonly parts: ReadonlyMap<string, number>
}

type InDirectory = MeasureOptions & { readonly directory: string }

async function figuresOf(vtpm: VtpmKind, options: InDirectory): Promise<readonly Figure[]> {
  const { repeat = REPEAT, tell } = options
  // The first fills caches, Node's compiled programs among them.
  await sample(vtpm, options)
  const samples: Sample[] = []
  for (let i = 1; i <= repeat; i++) {
    tell(`start-up, vTPM ${vtpm}: ${i} of ${repeat}`)
    samples.push(await sample(vtpm, options))
  }
  const names = new Set(samples.flatMap(({ parts }) => [...parts.keys()]))
  const total: Figure = {
    name: `run to QEMU's exec, vTPM ${vtpm}`,
    unit: 'ms',
    samples: samples.map((each) => each.total),
    limit: { atMost: LIMIT_MS },
  }
  const parts = [...names].map((name): Figure => {
    return { name, unit: 'ms', samples: samples.flatMap((each) => each.parts.get(name) ?? []) }
  })
  return [total, ...parts]
}

async function sample(vtpm: VtpmKind, { directory, signal }: InDirectory): Promise<Sample> {
  signal.throwIfAborted()
  const state = join(directory, 'state')
  const startedAt = Date.now()
  const args = ['run', 'boot/first-command', '--vtpm', vtpm, '--platform', BENCH_PLATFORM]
  const child = spawn(LAUNCHER, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, XDG_STATE_HOME: state },
  })
  let words = ''
  child.stderr.on('data', (bytes: Buffer) => {
    words = (words + bytes.toString('utf8')).slice(-2000)
  })
  try {
    const programs = await watchPrograms(child.pid ?? -1, {
      until: 'qemu-system-x86_64',
      timeoutMs: TIMEOUT_MS,
    })
    const exec = programs.at(-1)?.firstSeen ?? Number.NaN
    return { total: exec - startedAt, parts: await partsOf(state, { startedAt, exec, programs }) }
  } catch (cause) {
    throw new Error(`${cause instanceof Error ? cause.message : cause}: ${words}`, { cause })
  } finally {
    await stop(child)
    await rm(state, { recursive: true, force: true })
  }
}

/** As Ctrl-C does; a harness that does not end is killed, and its VM with it. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGINT')
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await ended
  clearTimeout(late)
}

interface Times {
  readonly startedAt: number
  readonly exec: number
  readonly programs: readonly SeenProgram[]
}

/** The run's events that end a part, in order. */
const MARKS: readonly { readonly part: string; readonly ends: (event: RunEvent) => boolean }[] = [
  { part: 'node, imports, probe, plan', ends: ({ type }) => type === 'run-started' },
  { part: 'images looked up', ends: ({ type }) => type === 'scenario-started' },
  {
    part: 'disk, variables, vTPM state',
    ends: (event) => event.type === 'phase' && event.phase === 'launching',
  },
]

async function partsOf(state: string, times: Times): Promise<ReadonlyMap<string, number>> {
  const events = await readEvents(join(state, 'attestbed/runs'))
  const parts = new Map<string, number>()
  let last = times.startedAt
  for (const { part, ends } of MARKS) {
    const at = events.find(ends)?.at
    if (at === undefined) continue
    parts.set(part, at - last)
    last = at
  }
  parts.set('swtpm, sandbox of QEMU', times.exec - last)
  for (const name of HELPERS) {
    const ran = times.programs.filter((program) => program.name === name)
    const lasted = Math.max(...ran.map(({ lastSeen }) => lastSeen)) - Math.min(...ran.map((p) => p.firstSeen))
    if (ran.length > 0) parts.set(`of these, ${name} ran`, lasted)
  }
  return parts
}

/** Programs that the preparations run to their end. */
const HELPERS = ['swtpm_setup', 'qemu-img'] as const

async function readEvents(runs: string): Promise<readonly RunEvent[]> {
  const [run] = await readdir(runs)
  const text = await readFile(join(runs, run ?? '', 'events.jsonl'), 'utf8')
  // The last line may still be being written.
  const lines = text.slice(0, text.lastIndexOf('\n') + 1)
  return lines
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as RunEvent)
}

/** What of it no change to the harness's work can save: sh, Node, and the command line's parser. */
async function versionFigure({ repeat = REPEAT, signal }: MeasureOptions): Promise<Figure> {
  const samples: number[] = []
  for (let i = 0; i < repeat + 1; i++) {
    signal.throwIfAborted()
    const startedAt = performance.now()
    const child = spawn(LAUNCHER, ['--version'], { stdio: 'ignore' })
    await once(child, 'exit')
    samples.push(performance.now() - startedAt)
  }
  return { name: 'attestbed --version, for comparison', unit: 'ms', samples: samples.slice(1) }
}
