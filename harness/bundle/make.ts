/** `attestbed bundle`: from a run directory to one file. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import type { ScenarioResult } from '../run/events.ts'
import { recordedOrder } from '../run/power-cut/recorded-order.ts'
import { RUN_RECORD_FILE, type RunRecord } from '../run/run-record.ts'
import { readTail } from '../system/files.ts'
import type { InstalledPackage } from '../system/tools-manifest.ts'
import { type Collected, collect } from './collect.ts'
import type { FoundPoint } from './find-run.ts'
import { BUNDLE_KIND, BUNDLE_VERSION } from './manifest.ts'
import { scrubText } from './scrub.ts'
import { type HostNames, ownNames, SECRET_KINDS, type SecretKind, secretPatterns } from './secrets.ts'
import { type FailureSignature, signatureOf } from './signature.ts'
import { type BundleContent, type WrittenBundle, writeBundle } from './write.ts'

export interface BundleRequest {
  readonly found: FoundPoint
  readonly file: string
  /** Kinds of secrets that stay in. */
  readonly include: readonly SecretKind[]
  readonly checkout: string
  readonly version: string
  /** Of the tools tree as it is now. */
  readonly packages: readonly InstalledPackage[]
  /** Bytes; absent: 60 MB. */
  readonly most?: number
  readonly names?: HostNames
  readonly now?: Date
}

export const USUAL_MOST_BYTES = 60e6
const SCENARIO_MEMBER = 'scenario.txt'
const LONGEST_TAIL = 16 * 1024

export async function makeBundle(request: BundleRequest): Promise<WrittenBundle> {
  const { found, file, include, most = USUAL_MOST_BYTES, names = ownNames(), now = new Date() } = request
  const { result } = found
  if (!('qemu' in result.variant))
    throw new UsageError(`${found.point} is of an older attestbed: its result lacks the axes of today`, {
      ...{ code: 'bad-value', hint: 'run it again' },
    })
  const patterns = secretPatterns(names).filter(({ kind }) => !include.includes(kind))
  const collected = await collect(found.point)
  const record = await readRecord(found.run)
  const source = await scenarioSource(request.checkout, result.scenario)
  const title = await titleOf(found.point)
  const about: BundleContent['about'] = {
    ...{ kind: BUNDLE_KIND, version: BUNDLE_VERSION, madeBy: request.version, made: now.toISOString() },
    scenario: { id: result.scenario, title, ...(source && { sourceSha256: sha256Hex(source) }) },
    variant: result.variant,
    argv: [...(record?.argv ?? [])],
    ...(record && { sampling: await samplingOf(found.point, record), tools: record.tools }),
    signature: toManifest(scrubbedSignature(result, await lastConsole(collected), names)),
    claims: result.claims.map(({ id, basis, outcome }) => ({ id, basis, outcome })),
    included: [...include],
  }
  const documents = {
    ...(source && { [SCENARIO_MEMBER]: source }),
    ...(record && { 'host.json': json(record.host) }),
    'tools.json': json({ ofTheRun: record?.tools, now: request.packages }),
  }
  return writeBundle(file, { ...collected, documents, about }, { patterns, most })
}

/**
 * As a bundle has it: every kind of secret in a text is masked before the words are compared, also one that was asked for,
 * since whoever compares masks those of their own. Ids and the variant are no texts, and stay.
 */
export function scrubbedSignature(
  result: ScenarioResult,
  consoleTail: string,
  names: HostNames = ownNames(),
): FailureSignature {
  const patterns = secretPatterns(names)
  const clean = (text: string): string => scrubText(text, patterns)
  const claims = result.claims.map((claim) => {
    const { claim: sentence, expected, got } = claim
    return { ...claim, claim: clean(sentence), expected: clean(expected), got: clean(got) }
  })
  return signatureOf({ ...result, reason: clean(result.reason), claims }, clean(consoleTail))
}

/** Of what the last boot printed last; the VMs of a run directory end in the order of their files' times. */
export async function lastConsole({ sources }: Pick<Collected, 'sources'>): Promise<string> {
  const consoles = sources.filter(({ path, bytes }) => path.endsWith('/console.raw') && bytes > 0)
  const last = consoles.at(-1)
  return last ? readTail(last.file, LONGEST_TAIL).toString('latin1') : ''
}

/** Mutable arrays, as the schema's type has them. */
function toManifest(signature: FailureSignature) {
  const { falseClaims, console, variant } = signature
  return { ...signature, variant: { ...variant }, falseClaims: [...falseClaims], console: [...console] }
}

/** With the order of the states that were booted: a place in another order would be another state. */
async function samplingOf(point: string, { sampling }: RunRecord): Promise<RunRecord['sampling']> {
  const order = sampling.order ?? (await recordedOrder(point, sampling.seed))
  return { ...sampling, ...(order !== undefined && { order }) }
}

async function readRecord(run: string): Promise<RunRecord | undefined> {
  const text = await readFile(join(run, RUN_RECORD_FILE), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : parsedOr<RunRecord | undefined>(text, undefined)
}

/** Of this checkout, as data: whoever gets the bundle sees what it did, and whether theirs is the same. */
export async function scenarioSource(checkout: string, id: string): Promise<Buffer | undefined> {
  return readFile(join(checkout, 'scenarios', `${id}.ts`)).catch(() => undefined)
}

async function titleOf(point: string): Promise<string> {
  const lines = (await readFile(join(point, 'events.jsonl'), 'utf8').catch(() => '')).split('\n')
  const started = lines.find((line) => line.includes('"scenario-started"'))
  return String(parsedOr<{ title?: unknown }>(started ?? '', {}).title ?? '').slice(0, 1024)
}

/** A record that was cut off is one that is not there: the rest of the run is still worth a bundle. */
function parsedOr<Value>(text: string, otherwise: Value): Value {
  try {
    return JSON.parse(text) ?? otherwise
  } catch {
    return otherwise
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 1)}\n`)
}

/** Whether somebody may ask for it by name. */
export function isSecretKind(name: string): name is SecretKind {
  return (SECRET_KINDS as readonly string[]).includes(name)
}
