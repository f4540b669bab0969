/** A finished run, or one that was cut short, out of its directory or its `result.json`. */
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { FormatError, UsageError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { runResultSchema } from '../../run/event-schema.ts'
import type { PlannedEntry, RunEvent, RunHost, RunResult, ScenarioResult } from '../../run/events.ts'
import { EVENTS_FILE, RESULT_FILE } from '../run-files.ts'
import { readStream } from './stream.ts'

export interface RunRecord {
  readonly directory: string
  /** Milliseconds since the epoch; 0 where nothing says. */
  readonly startedAt: number
  readonly endedAt: number
  readonly host: RunHost | undefined
  readonly notes: readonly string[]
  /** With a result for everything that was planned. */
  readonly result: RunResult
  readonly titles: ReadonlyMap<string, string>
  readonly ended: boolean
  /** `directory` is that of one scenario of a run. */
  readonly isPoint?: boolean
  /** Came out of a bundle: its path, which outlasts `directory`. */
  readonly bundle?: string
  /** What could not be read, in words. */
  readonly problems: readonly string[]
}

const LARGEST_RESULT = 1 << 28

/**
 * `path`: a run directory, its `events.jsonl` or its `result.json`. Throws UsageError for anything else, FormatError for
 * a stream of another version and a result that is none.
 */
export async function readRun(path: string): Promise<RunRecord> {
  const file = resolve(path)
  const about = await stat(file).catch((cause: unknown) => {
    throw noRun(path, 'there is no such file or directory', cause)
  })
  if (about.isDirectory()) return readDirectory(file, path)
  if (basename(file) === EVENTS_FILE) return readEvents(dirname(file))
  return readResult(file)
}

async function readDirectory(directory: string, path: string): Promise<RunRecord> {
  const has = async (name: string) => (await stat(join(directory, name)).catch(() => undefined))?.isFile()
  if (await has(EVENTS_FILE)) return readEvents(directory)
  if (await has(RESULT_FILE)) return readResult(join(directory, RESULT_FILE))
  throw noRun(path, `it has neither ${EVENTS_FILE} nor ${RESULT_FILE}`)
}

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] }

/** What the stream has said so far. */
interface Reading {
  readonly planned: PlannedEntry[]
  readonly results: Map<string, ScenarioResult>
  readonly started: Map<string, PlannedEntry & { readonly directory: string }>
  readonly titles: Map<string, string>
  readonly notes: string[]
  run: Partial<Writable<Pick<RunRecord, 'startedAt' | 'endedAt' | 'host'>>>
  result: RunResult | undefined
  isPoint: boolean
}

async function readEvents(directory: string): Promise<RunRecord> {
  const reading: Reading = {
    ...{ planned: [], notes: [], run: {}, result: undefined, isPoint: true },
    ...{ results: new Map(), started: new Map(), titles: new Map() },
  }
  const problems = await readStream(join(directory, EVENTS_FILE), (event) => take(reading, event))
  const { run, result, titles, notes, isPoint } = reading
  const { startedAt = 0, endedAt = startedAt, host } = run
  return {
    ...{ directory, startedAt, endedAt, host, notes, titles, problems },
    result: result ?? { results: unfinished(reading) },
    ended: result !== undefined || (isPoint && isWhole(reading)),
    ...(isPoint && { isPoint }),
  }
}

function take(reading: Reading, event: RunEvent): void {
  const { run } = reading
  run.startedAt ??= event.at
  run.endedAt = event.at
  if (event.type === 'run-started') {
    run.host = event.host
    reading.isPoint = false
  }
  if (event.type === 'run-started' || event.type === 'run-extended') reading.planned.push(...event.planned)
  else if (event.type === 'scenario-started') {
    const { key, scenario, variant, directory } = event
    reading.started.set(key, { key, scenario, variant, directory })
    reading.titles.set(event.scenario, event.title)
  } else if (event.type === 'scenario-ended') reading.results.set(event.key, event.result)
  else if (event.type === 'run-note') reading.notes.push(event.text)
  else if (event.type === 'run-ended') reading.result = event.result
}

/** Of a scenario's own stream: nothing but its header is what a kill leaves, not a run of nothing. */
function isWhole({ started, results }: Reading): boolean {
  return started.size > 0 && [...started.keys()].every((key) => results.has(key))
}

/**
 * The results of a run that was cut short: what had not ended is neither a pass nor a fail. What ran is there whether or not
 * the line that planned it could be read.
 */
function unfinished({ planned, results, started }: Reading): readonly ScenarioResult[] {
  const entries = new Map<string, PlannedEntry>([
    ...started,
    ...planned.map((entry) => [entry.key, entry] as const),
  ])
  const inOrder = new Set([...planned.map(({ key }) => key), ...started.keys(), ...results.keys()])
  return [...inOrder].flatMap((key) => {
    const result = results.get(key)
    const entry = entries.get(key)
    return result ?? (entry ? cutShort(entry, started.get(key)?.directory) : [])
  })
}

function cutShort({ scenario, variant, repetition }: PlannedEntry, dir: string | undefined): ScenarioResult {
  return {
    ...{ scenario, variant, outcome: 'error', seconds: 0, claims: [], dir: dir ?? '' },
    reason: `interrupted: the run was cut short ${dir === undefined ? 'before this began' : 'while this ran'}`,
    attempts: dir === undefined ? 0 : 1,
    ...(repetition !== undefined && { repetition }),
  }
}

async function readResult(file: string): Promise<RunRecord> {
  const { size, mtimeMs } = await stat(file)
  if (size > LARGEST_RESULT) throw badResult(file, `has ${size} bytes, at most ${LARGEST_RESULT} are read`)
  const parsed = runResultSchema.safeParse(parseJson(file, await readFile(file, 'utf8')))
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw badResult(file, `is no result of a run: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const seconds = parsed.data.results.reduce((sum, result) => sum + result.seconds, 0)
  return {
    ...{ directory: dirname(file), startedAt: mtimeMs - seconds * 1000, endedAt: mtimeMs, host: undefined },
    ...{ notes: [], result: parsed.data, titles: new Map(), ended: true, problems: [] },
  }
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badResult(file, 'is no JSON')
  }
}

function badResult(file: string, problem: string): FormatError {
  const message = escapeControls(`cannot read ${file}: it ${problem}`)
  return new FormatError(message, { code: 'bad-value', field: 'result', offset: 0 })
}

function noRun(path: string, problem: string, cause?: unknown): UsageError {
  return new UsageError(`cannot report on ${escapeControls(path)}: ${problem}`, {
    ...{ code: 'bad-value', cause },
    hint: 'name a run directory, or the result.json in it',
  })
}
