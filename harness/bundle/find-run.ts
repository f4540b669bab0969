/** From what a person types to the one point of the matrix that a bundle is about. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'
import type { ScenarioResult } from '../run/events.ts'
import { errorCode } from '../system/files.ts'

export interface FoundPoint {
  /** Directory of the whole run. */
  readonly run: string
  /** Directory of the scenario on one point of the matrix. */
  readonly point: string
  readonly result: ScenarioResult
}

const RESULT_FILE = 'result.json'
const LAST = 'last'

/**
 * `name`: `last`, the name of a run, the path of its directory, or of the directory of one scenario in it. Of a run with
 * several scenarios, the one that failed. Throws UsageError `bad-value` with what there is to choose from.
 */
export async function findPoint(runs: string, name: string): Promise<FoundPoint> {
  const directory = await directoryOf(runs, name)
  const whole = await readResult(directory)
  if ('scenario' in whole) return { run: dirname(directory), point: directory, result: whole }
  // Its results say where the scenarios ran; a run that was moved has them all the same.
  const points = await pointsIn(directory)
  const failed = points.filter(({ result }) => result.outcome === 'fail' || result.outcome === 'error')
  const candidates = failed.length > 0 ? failed : points
  const [only] = candidates
  if (only && candidates.length === 1) return only
  const what = failed.length > 0 ? 'failed scenarios' : 'scenarios, none of which failed'
  throw new UsageError(`${name} has ${candidates.length} ${what}; a bundle is about one`, {
    code: 'bad-value',
    hint:
      candidates.length === 0 ? undefined : `name one:\n${candidates.map(({ point }) => point).join('\n')}`,
  })
}

async function directoryOf(runs: string, name: string): Promise<string> {
  const known = await readdir(runs).catch(() => [] as string[])
  if (name === LAST) {
    const ended = await Promise.all(
      known
        .sort()
        .reverse()
        .map((each) => ifEnded(join(runs, each))),
    )
    const last = ended.find((each) => each !== undefined)
    if (last) return last
    throw new UsageError(`there is no run in ${runs} that has ended`, { code: 'bad-value' })
  }
  if (known.includes(name)) return join(runs, name)
  const path = resolve(name)
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) return path
  const meant = nearest(name, known)
  throw new UsageError(`there is no run ${name}, neither in ${runs} nor as a directory`, {
    code: 'bad-value',
    hint: meant ? `did you mean ${meant}?` : `\`${LAST}\` is the newest one`,
  })
}

async function ifEnded(directory: string): Promise<string | undefined> {
  return stat(join(directory, RESULT_FILE)).then(
    () => directory,
    () => undefined,
  )
}

async function pointsIn(run: string): Promise<readonly FoundPoint[]> {
  const found: FoundPoint[] = []
  for (const entry of await readdir(run, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const point = join(run, entry.name)
    const result = (await ifEnded(point)) && (await readResult(point))
    // An attempt that was followed by another is in the result of the last one.
    if (result && 'scenario' in result) found.push({ run, point, result })
  }
  const last = new Map(found.map((each) => [basename(each.point).replace(/[.]attempt-\d+$/, ''), each]))
  return [...last.values()]
}

async function readResult(directory: string): Promise<ScenarioResult | { readonly results: unknown }> {
  const file = join(directory, RESULT_FILE)
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'))
    if (typeof value !== 'object' || value === null || !(isPoint(value) || 'results' in value))
      throw new Error('it is no result')
    return value as ScenarioResult | { readonly results: unknown }
  } catch (cause) {
    throw new UsageError(
      errorCode(cause) === 'ENOENT'
        ? `${directory} has no ${RESULT_FILE}: it is no run, or one that has not ended`
        : `cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { code: 'bad-value', cause },
    )
  }
}

function isPoint(value: object): boolean {
  return 'scenario' in value && 'variant' in value && 'claims' in value && Array.isArray(value.claims)
}
