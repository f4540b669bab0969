import { readdir } from 'node:fs/promises'
import { extname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { AttestbedError, UsageError } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'
import { isDefinedScenario, type Scenario } from './scenario.ts'

/** Scenarios of this checkout (or of the installed package, where they are compiled). */
export const SCENARIOS_DIRECTORY = fileURLToPath(new URL('../../scenarios/', import.meta.url))
const SOURCE_EXTENSION = extname(fileURLToPath(import.meta.url))

export interface FoundScenario {
  /** `<subject>/<id>`: the file's path below `scenarios/` without its extension. */
  readonly id: string
  readonly scenario: Scenario
}

/** Ids of all scenario files, sorted. */
export async function scenarioIds(directory = SCENARIOS_DIRECTORY): Promise<readonly string[]> {
  const files = await readdir(directory, { recursive: true, withFileTypes: true })
  return files
    .filter((file) => file.isFile() && file.parentPath !== join(directory) && isScenarioFile(file.name))
    .map((file) => relative(directory, join(file.parentPath, file.name)).slice(0, -SOURCE_EXTENSION.length))
    .sort()
}

function isScenarioFile(name: string): boolean {
  return name.endsWith(SOURCE_EXTENSION) && !name.includes('.test.') && !name.endsWith('.d.ts')
}

/** A pattern is an id, a leading folder of ids, or a glob with `*` (which also crosses `/`). */
export function matcher(typed: string): (id: string) => boolean {
  const pattern = typed.replace(/^(\.\/)?scenarios\//, '').replace(/\.ts$/, '')
  if (!pattern.includes('*')) return (id) => id === pattern || id.startsWith(`${pattern.replace(/\/$/, '')}/`)
  const source = pattern
    .split('*')
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*')
  const expression = new RegExp(`^${source}$`)
  return (id) => expression.test(id)
}

/**
 * The ids that the patterns select, in order of id; all when there is no pattern.
 * Throws UsageError `unknown-scenario` for a pattern that selects nothing, with the nearest id as a hint.
 */
export function selectIds(ids: readonly string[], patterns: readonly string[]): readonly string[] {
  if (patterns.length === 0) return ids
  const selected = new Set<string>()
  for (const pattern of patterns) {
    const matching = ids.filter(matcher(pattern))
    if (matching.length === 0) throw unknownScenario(pattern, ids)
    for (const id of matching) selected.add(id)
  }
  return ids.filter((id) => selected.has(id))
}

function unknownScenario(pattern: string, ids: readonly string[]): UsageError {
  const nearest = nearestOf(pattern, ids)
  return new UsageError(`no scenario matches "${pattern}"; ${ids.length} exist`, {
    code: 'unknown-scenario',
    hint: nearest
      ? `did you mean ${nearest}? (attestbed list names them all)`
      : 'attestbed list names them all',
  })
}

/** The id that was probably meant, with its subject or without. */
function nearestOf(pattern: string, ids: readonly string[]): string | undefined {
  const names = new Map(
    ids.flatMap((id) => [[id, id] as const, [id.slice(id.indexOf('/') + 1), id] as const]),
  )
  const meant = nearest(pattern, [...names.keys()])
  return meant === undefined ? undefined : names.get(meant)
}

/** Imports the scenarios of `ids`. Throws UsageError `bad-scenario` where a file cannot be loaded or exports none. */
export async function loadScenarios(
  ids: readonly string[],
  directory = SCENARIOS_DIRECTORY,
): Promise<readonly FoundScenario[]> {
  return Promise.all(ids.map((id) => loadScenario(id, directory)))
}

async function loadScenario(id: string, directory: string): Promise<FoundScenario> {
  const file = join(directory, id + SOURCE_EXTENSION)
  const { scenario } = await importScenario(file)
  if (scenario !== undefined && isDefinedScenario(scenario)) return { id, scenario }
  const current = scenario === undefined ? 'no `scenario`' : 'a `scenario` that defineScenario has not made'
  throw new UsageError(`${file} exports ${current}; exactly one is required`, {
    code: 'bad-scenario',
    hint: 'export const scenario = defineScenario({...})',
  })
}

async function importScenario(file: string): Promise<{ readonly scenario?: Scenario }> {
  try {
    return await import(pathToFileURL(file).href)
  } catch (cause) {
    if (cause instanceof AttestbedError) throw cause
    throw new UsageError(`cannot load ${whereIn(cause, file)}: ${String(cause)}`, {
      code: 'bad-scenario',
      cause,
    })
  }
}

/** `file:line[:column]`, from the head of a syntax error's stack or from its first frame in the file. */
function whereIn(cause: unknown, file: string): string {
  const stack = cause instanceof Error ? (cause.stack ?? '') : ''
  const at = stack.indexOf(file)
  const place = at < 0 ? undefined : /^(:\d+){1,2}/.exec(stack.slice(at + file.length))?.[0]
  return `${file}${place ?? ''}`
}
