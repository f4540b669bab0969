/** Everything that a page says of one run of a scenario: read from its directory, as far as that is still there. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { RunEvent, ScenarioResult, Variant } from '../../run/events.ts'
import type { ConsoleRecord, Material, ProcessRecord, RunDetail, TimelineMark } from '../html/data.ts'
import { EVENTS_FILE } from '../run-files.ts'
import { bootBars } from './boot-bars.ts'
import { readConsole } from './console-file.ts'
import { readStream } from './stream.ts'

/** A directory of a stranger may hold any number of each. */
const MOST_PROCESSES = 200
const MOST_MARKS = 2000
const LARGEST_BILL = 4 * 1024 * 1024
/** As `attestbed run` leaves it; of it only the sampling is read, by hand. */
const RUN_RECORD_FILE = 'run.json'
const LARGEST_RECORD = 4 * 1024 * 1024

/** Which states of a power cut were booted: the words behind `--seed`, `--states` and `--order`. */
interface Sampling {
  readonly seed: number
  readonly states: 'all' | { readonly first: number; readonly last: number }
  readonly order?: string
}

/** `run`: where the whole run lies now; its scenarios lie in it, wherever they were when it ran. */
export async function readDetail(stored: ScenarioResult, run?: string): Promise<RunDetail> {
  const result = { ...stored, dir: await directoryNow(stored, run) }
  const events: RunEvent[] = []
  const problems = [...(await readEvents(result, events))]
  const since = events[0]?.at ?? 0
  const until = events.at(-1)?.at ?? since
  const marks = events.flatMap((event) => markOf(event, since))
  if (marks.length > MOST_MARKS)
    problems.push(`${marks.length - MOST_MARKS} marks of the timeline are left out`)
  const { consoles, processes } = await readProcesses(result, events, problems)
  return {
    ...{
      startedAt: since,
      reason: result.reason,
      command: commandOf({ ...result, ...(isSampled(events) && { sampling: await samplingIn(run) }) }),
      directory: result.dir,
    },
    ...(result.hint !== undefined && { hint: result.hint }),
    ...(isBundled(result) && { makeBundle: shellWords(['attestbed', 'bundle', result.dir]) }),
    ...{ claims: result.claims, broken: result.broken ?? [], ms: until - since },
    vms: bootBars(events, { since, until }),
    marks: marks.slice(0, MOST_MARKS),
    ...{ consoles, processes },
    registers: events.flatMap((event) => {
      if (event.type !== 'registers') return []
      const { at, vm, bank, registers } = event
      return [{ at: at - since, vm, bank, registers }]
    }),
    evidence: events.flatMap((event) =>
      event.type === 'evidence' ? [{ vm: event.vm, page: event.page }] : [],
    ),
    problems,
  }
}

/** To others, seed and range say nothing. */
function isSampled(events: readonly RunEvent[]): boolean {
  return events.some((event) => event.type === 'scenario-started' && event.isSampled)
}

/** What failed, and ran. */
function isBundled({ outcome, dir }: ScenarioResult): boolean {
  return dir !== '' && (outcome === 'fail' || outcome === 'error')
}

async function directoryNow({ dir }: ScenarioResult, run: string | undefined): Promise<string> {
  if (dir === '' || run === undefined) return dir
  const moved = join(run, basename(dir))
  return (await isDirectory(moved)) ? moved : dir
}

/** Which states of a power cut were booted, where the run's record says so. */
async function samplingIn(run: string | undefined): Promise<Sampling | undefined> {
  if (run === undefined) return undefined
  const file = join(run, RUN_RECORD_FILE)
  try {
    if ((await stat(file)).size > LARGEST_RECORD) return undefined
    const { seed, states, order } = JSON.parse(await readFile(file, 'utf8')).sampling
    const numbers = states === 'all' ? [seed] : [seed, states.first, states.last]
    if (!numbers.every(Number.isSafeInteger)) return undefined
    return { seed, states, ...(typeof order === 'string' && { order }) }
  } catch {
    return undefined
  }
}

async function readEvents({ dir }: ScenarioResult, events: RunEvent[]): Promise<readonly string[]> {
  if (dir === '') return []
  try {
    return await readStream(join(dir, EVENTS_FILE), (event) => events.push(event))
  } catch (error) {
    return [`what happened is not known: ${error instanceof Error ? error.message : String(error)}`]
  }
}

function markOf(event: RunEvent, since: number): readonly TimelineMark[] {
  const mark = (kind: TimelineMark['kind'], vm: string, text: string): readonly TimelineMark[] => [
    { at: event.at - since, kind, vm, text },
  ]
  switch (event.type) {
    case 'qmp-event':
      return mark('qmp', event.vm, event.data === '{}' ? event.name : `${event.name} ${event.data}`)
    case 'host-action':
      return mark('host', event.vm, event.text)
    case 'guest-command':
      return mark('guest', event.vm, event.argv.join(' ').slice(0, 300))
    case 'note':
      return mark('note', '', event.text)
    case 'claim':
      return mark('claim', '', `${event.result.outcome}: ${event.result.claim}`)
    case 'vm-ended':
      return mark('end', event.vm, `${event.kind}${event.reason === '' ? '' : `: ${event.reason}`}`)
    default:
      return []
  }
}

/** `VM/boot-N` of the run's directory: one for each QEMU process, in the order of their starts. */
async function readProcesses(
  { dir }: ScenarioResult,
  events: readonly RunEvent[],
  problems: string[],
): Promise<{ readonly consoles: readonly ConsoleRecord[]; readonly processes: readonly ProcessRecord[] }> {
  const consoles: ConsoleRecord[] = []
  const processes: ProcessRecord[] = []
  const counts = new Map<string, number>()
  const since = events[0]?.at ?? 0
  for (const event of events) {
    if (event.type !== 'vm-started') continue
    const { vm, argv } = event
    const process = (counts.get(vm) ?? 0) + 1
    counts.set(vm, process)
    if (processes.length === MOST_PROCESSES) problems.push(`only ${MOST_PROCESSES} QEMU processes are shown`)
    if (processes.length >= MOST_PROCESSES) continue
    const directory = await processDirectory(dir, vm, process)
    processes.push({ vm, process, argv, materials: directory === undefined ? [] : await readBill(directory) })
    const file = directory === undefined ? undefined : join(directory, 'console.raw')
    if (file === undefined || !(await isFile(file))) continue
    const shown = await readConsole(file).catch((error: unknown) => {
      problems.push(`cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`)
    })
    if (shown) consoles.push({ vm, process, from: event.at - since, file, ...shown })
  }
  return { consoles, processes }
}

/** A VM made of another's materials lies in that one's directory: its name is looked for one level down, too. */
async function processDirectory(dir: string, vm: string, process: number): Promise<string | undefined> {
  if (dir === '' || !/^[\w.-]+$/.test(vm) || vm.startsWith('.')) return undefined
  const name = `boot-${process}`
  const own = join(dir, vm, name)
  if (await isDirectory(own)) return own
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const below = join(dir, entry.name, vm, name)
    if (entry.isDirectory() && (await isDirectory(below))) return below
  }
  return undefined
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false
}

async function readBill(directory: string): Promise<readonly Material[]> {
  const file = join(directory, 'bill.json')
  const about = await stat(file).catch(() => undefined)
  if (!about?.isFile() || about.size > LARGEST_BILL) return []
  try {
    const { materials } = JSON.parse(await readFile(file, 'utf8'))
    return Array.isArray(materials) ? materials.flatMap(materialOf) : []
  } catch {
    return []
  }
}

function materialOf(value: unknown): readonly Material[] {
  if (typeof value !== 'object' || value === null) return []
  const { role, path, sha256, bytes } = value as Readonly<Record<string, unknown>>
  if (typeof role !== 'string' || typeof path !== 'string' || typeof sha256 !== 'string') return []
  return [{ role, path, sha256, bytes: typeof bytes === 'number' ? bytes : 0 }]
}

/** The same point of the matrix again, whatever the host would choose by itself. */
export function commandOf({
  scenario,
  variant,
  sampling,
}: {
  readonly scenario: string
  readonly variant: Variant
  readonly sampling?: Sampling | undefined
}): string {
  const { platform, emulatedOn, vtpm, firmware, image, qemu, vcpus, memoryMiB } = variant
  const words = [
    ...['attestbed', 'run', scenario, '--platform', platform],
    ...(emulatedOn === undefined ? [] : ['--emulated-on', emulatedOn]),
    ...['--vtpm', vtpm, '--firmware', firmware],
    ...['--image', image, ...(qemu === 'tools' ? [] : ['--qemu', qemu])],
    ...['--vcpus', String(vcpus), '--memory', `${memoryMiB}M`],
    ...(sampling ? samplingWords(sampling) : []),
  ]
  return shellWords(words)
}

/** Safe to paste into a shell. */
export function shellWords(words: readonly string[]): string {
  return words.map(quoted).join(' ')
}

function samplingWords({ seed, states, order }: Sampling): readonly string[] {
  const range = states === 'all' ? ['--exhaustive'] : ['--states', `${states.first}-${states.last}`]
  return ['--seed', String(seed), ...range, ...(order === undefined ? [] : ['--order', order])]
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
