/**
 * A stored stream of events, as far as it goes: a run that was killed leaves its last line torn, a bundle comes from a
 * stranger. What is whole is read, what is not is named.
 */
import { createReadStream } from 'node:fs'
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { eventSchema, streamHeaderSchema } from '../../run/event-schema.ts'
import { EVENT_SCHEMA_VERSION, OLDEST_READABLE_EVENTS, type RunEvent } from '../../run/events.ts'

/** The last event of a long run holds all its results. */
const LONGEST_LINE = 256 * 1024 * 1024
const LF = 0x0a
const MOST_PROBLEMS = 20

/**
 * Calls `onEvent` with each event of a file, in order, and returns what is wrong with it, in words. Throws FormatError
 * `bad-value` for a stream of another version, `bad-magic` for what is no stream, and what opening the file throws.
 */
export async function readStream(
  file: string,
  onEvent: (event: RunEvent) => void,
): Promise<readonly string[]> {
  const problems: string[] = []
  const say = (number: number, problem: string): void => {
    if (problems.length < MOST_PROBLEMS) problems.push(`${escapeControls(file)}:${number}: ${problem}`)
  }
  let number = 0
  let added: Additions = {}
  for await (const { line, torn } of linesOf(file)) {
    number += 1
    if (number === 1) added = additionsTo(checkHeader(file, line))
    const parsed = parseEvent(line, added)
    // Without its head, what was planned is not known, and what is missing would not be missed.
    if (number === 1 && typeof parsed === 'string' && parsed !== 'header')
      throw wrong(file, 'bad-value', `begins with a line that ${parsed.replace(/, and was left out/, '')}`)
    if (typeof parsed === 'object') onEvent(parsed)
    else if (parsed !== 'header')
      say(number, torn ? `cut off after ${line.length} bytes; what is before it is whole` : parsed)
  }
  if (number === 0) throw wrong(file, 'bad-magic', 'is empty; a stream of events begins with its version')
  return problems
}

/** Lines by their line feeds alone: U+2028 in a guest's text ends none. A last line without one is torn. */
async function* linesOf(file: string): AsyncGenerator<{ readonly line: Buffer; readonly torn: boolean }> {
  let parts: Buffer[] = []
  let length = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      yield { line: Buffer.concat([...parts, chunk.subarray(start, end)]), torn: false }
      parts = []
      length = 0
      start = end + 1
    }
    if (start === chunk.length) continue
    parts.push(chunk.subarray(start))
    length += chunk.length - start
    if (length > LONGEST_LINE)
      throw wrong(file, 'too-large', `has a line of more than ${LONGEST_LINE} bytes; events are shorter`)
  }
  if (length > 0) yield { line: Buffer.concat(parts), torn: true }
}

/** Members that events of a type did not have yet, by type. */
type Additions = Readonly<Record<string, object>>

/** What makes events of a stream of `version` those of today. */
function additionsTo(version: number): Additions {
  return {
    'run-started': { version: EVENT_SCHEMA_VERSION },
    // Which scenarios draw states was not said: the record of the run decides, as it did then.
    ...(version < FIRST_WITH_SAMPLING && { 'scenario-started': { isSampled: true } }),
  }
}

const FIRST_WITH_SAMPLING = 4

/** The event, `header` for the first line of a scenario's own stream, or what is wrong. */
function parseEvent(line: Buffer, added: Additions): RunEvent | string {
  const json = parseJson(line)
  if (json === undefined) return 'is no JSON, and was left out'
  if (isObject(json) && json['type'] === 'log-started') return 'header'
  const more = isObject(json) && typeof json['type'] === 'string' ? added[json['type']] : undefined
  const parsed = eventSchema.safeParse(more ? { ...Object(json), ...more } : json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  return `is no event of ours, and was left out: ${escapeControls(`${issue?.path.join('.')}: ${issue?.message}`)}`
}

/** Returns the version. */
function checkHeader(file: string, line: Buffer): number {
  const json = parseJson(line)
  const header = streamHeaderSchema.safeParse(json)
  if (header.success) return header.data.version
  const version = isObject(json) ? json['version'] : undefined
  if (typeof version !== 'number')
    throw wrong(file, 'bad-magic', 'does not begin with the version of its events')
  const readable = `versions ${OLDEST_READABLE_EVENTS} to ${EVENT_SCHEMA_VERSION} are read`
  throw wrong(
    file,
    'bad-value',
    `has events of schema version ${version}; ${readable}`,
    version > EVENT_SCHEMA_VERSION
      ? 'use the attestbed that wrote it, or a newer one'
      : 'use the attestbed that wrote it',
  )
}

function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'))
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function wrong(
  file: string,
  code: 'bad-magic' | 'bad-value' | 'too-large',
  problem: string,
  hint?: string,
): FormatError {
  return new FormatError(`cannot read ${escapeControls(file)}: it ${problem}`, {
    ...{ code, hint, field: code === 'bad-value' ? 'version' : 'line', offset: 0 },
  })
}
