/** Runs one scenario on one point of the matrix, and turns whatever happens into a result. */
import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { InterruptedError, TimeoutError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { Scope } from '../system/scope.ts'
import { ClaimBook } from '../verdict/claims.ts'
import type { Bench } from './bench.ts'
import type { BrokenAttempt, RunEventSink, ScenarioResult, VmBoot } from './events.ts'
import { faultOf, firstOfOurs } from './health.ts'
import { Lab } from './lab.ts'
import type { ScenarioEvent, VmEnd } from './lab-spec.ts'
import { judge } from './outcome.ts'
import type { PlannedPoint } from './plan.ts'
import { PrintedArgv } from './printed-argv.ts'
import { Processors } from './processors.ts'
import { StoppedAtFailure } from './stopped.ts'

export interface Execution {
  readonly point: PlannedPoint
  /** Made when the scenario starts: an image that cannot be built is an error of each scenario that needs it. */
  readonly bench: () => Promise<Bench>
  /** The run's directory; the point gets one of its own in it. */
  readonly runDirectory: string
  /** Keep the disks of a scenario that passed, too. */
  readonly keep: boolean
  /** Upper bound for the scenario; absent: its own. */
  readonly seconds?: number
  readonly signal: AbortSignal
  readonly emit: RunEventSink
  /** From 1, the default. */
  readonly attempt?: number
  /** The attempts before this one. */
  readonly broken?: readonly BrokenAttempt[]
  /** How many attempts may follow where this one breaks; default 0. */
  readonly retriesLeft?: number
  /** Called where the scenario fails or breaks, before its VMs are torn down; it then stops at its first false claim. */
  readonly onFailure?: (scene: FailureScene) => Promise<void>
}

/** What there is to look at where a scenario stopped. */
export interface FailureScene {
  readonly error: unknown
  /** VMs whose QEMU was started, oldest first; some may have ended. */
  readonly machines: readonly VmEnd[]
  readonly image: ImageDescription
}

/** As `execute`, again and again while attempts break and `retries` are left. Each has a directory of its own. */
export async function executeRetrying(execution: Execution, retries: number): Promise<ScenarioResult> {
  const broken: BrokenAttempt[] = []
  for (let attempt = 1; ; attempt++) {
    const retriesLeft = retries + 1 - attempt
    const { result, isRetried } = await tryOnce({ ...execution, attempt, broken: [...broken], retriesLeft })
    if (!isRetried) return result
    const { reason, seconds, dir, claims } = result
    broken.push({ reason, seconds, dir, claims })
  }
}

/** Never rejects: what breaks is an outcome. */
export async function execute(execution: Execution): Promise<ScenarioResult> {
  return (await tryOnce(execution)).result
}

interface Tried {
  readonly result: ScenarioResult
  /** Said once: the event of its end depends on it. */
  readonly isRetried: boolean
}

async function tryOnce(execution: Execution): Promise<Tried> {
  const { point, bench, runDirectory, keep, signal, emit, attempt = 1 } = execution
  const { broken = [], retriesLeft = 0 } = execution
  const { found, variant, key, id } = point
  const { scenario } = found
  const seconds = execution.seconds ?? scenario.budget.seconds
  const startedAt = Date.now()
  const directory = join(runDirectory, attempt === 1 ? folderOf(key) : `${folderOf(key)}.attempt-${attempt}`)
  const budget = { ...scenario.budget, vcpus: variant.vcpus, memoryMiB: variant.memoryMiB }
  const boots: VmBoot[] = []
  const send = (event: ScenarioEvent): void => {
    if (event.type === 'boot-ended') boots.push({ vm: event.vm, ...event.boot })
    emit({ ...event, at: Date.now(), key })
  }
  const scratch: string[] = []
  const vtpmLogs: string[] = []
  const ends: VmEnd[] = []
  const claims = new ClaimBook(scenario.claims, point.platform.basis)
  const processors = new Processors(point.platform)
  send({
    ...{ type: 'scenario-started', scenario: id, title: scenario.title, variant, directory, attempt },
    ...(scenario.budget.secondsPerState !== undefined && { isSampled: true }),
  })
  const thrown = await caught(async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await using scope = new Scope(key)
    const limit = AbortSignal.timeout(seconds * 1000)
    const made = await bench()
    const lab = new Lab<string>({
      ...{ variant, directory, scope, claims, processors, scratch, vtpmLogs, ends, emit: send },
      bench: made,
      stopAtFailure: execution.onFailure !== undefined,
      basis: point.platform.basis,
      budget,
      secureBoot: scenario.needs.secureBoot,
      signal: AbortSignal.any([signal, limit]),
      endsAt: Date.now() + seconds * 1000,
    })
    // Before the scope closes: a scenario that lost the race goes on, and sees its VMs being torn down.
    using _ = { [Symbol.dispose]: () => claims.close() }
    await Promise.race([scenario.run(lab), overBudget(limit, seconds), interrupted(signal)]).catch(
      async (error: unknown) => {
        const image = made.image?.description
        if (!signal.aborted) await execution.onFailure?.({ error, machines: ends, image })
        throw error
      },
    )
  })
  if (thrown instanceof PrintedArgv) send({ type: 'command-lines', commands: thrown.commands })
  const judged =
    thrown instanceof PrintedArgv
      ? { outcome: 'skip' as const, reason: 'argv-printed: nothing was started' }
      : judge({
          ...{
            claims: claims.decided,
            undecided: claims.undecided,
            thrown: thrown instanceof StoppedAtFailure ? undefined : firstOfOurs(thrown),
          },
          fault: await faultOf({ directory, vtpmLogs, ends }).catch((error: unknown) => error),
        })
  if (!keep && judged.outcome === 'pass') await Promise.all(scratch.map((file) => rm(file, { force: true })))
  const result: ScenarioResult = {
    ...{ scenario: id, variant, ...judged },
    seconds: (Date.now() - startedAt) / 1000,
    ...{ claims: claims.decided, ...(boots.length > 0 && { boots }), dir: directory, attempts: attempt },
    ...(broken.length > 0 && { broken }),
    ...marksOf(point),
  }
  // A false claim stays false, even beside a fault that may have caused it: a retry that passes would hide it.
  const isFalse = claims.decided.some((claim) => claim.outcome === 'fail')
  const isRetried = judged.outcome === 'error' && !isFalse && retriesLeft > 0 && !signal.aborted
  send({ type: isRetried ? 'attempt-ended' : 'scenario-ended', result })
  return { result, isRetried }
}

/** The result of a point that nothing is started for: a skip for what the host lacks, else an error. */
export function notStarted(point: PlannedPoint, thrown: unknown, emit: RunEventSink): ScenarioResult {
  const result: ScenarioResult = {
    ...{ scenario: point.id, variant: point.variant },
    ...judge({ claims: [], undecided: [], thrown }),
    ...{ seconds: 0, claims: [], dir: '', attempts: 0 },
    ...marksOf(point),
  }
  emit({ type: 'scenario-ended', at: Date.now(), key: point.key, result })
  return result
}

function marksOf({ unstable, repetition }: PlannedPoint): Pick<ScenarioResult, 'unstable' | 'repetition'> {
  return {
    ...(unstable !== undefined && { unstable }),
    ...(repetition !== undefined && { repetition }),
  }
}

/** Leaves room for the names of files in it, on file systems that allow 255 bytes. */
const LONGEST_FOLDER = 160

/** A folder name out of a key: no slash, nothing that a shell would want quoted. */
function folderOf(key: string): string {
  const name = key.replaceAll('/', '.').replaceAll(/[^\w.+-]/g, '-')
  if (name.length <= LONGEST_FOLDER) return name
  return `${name.slice(0, LONGEST_FOLDER)}-${createHash('sha256').update(key).digest('hex').slice(0, 12)}`
}

async function caught(action: () => Promise<void>): Promise<unknown> {
  try {
    await action()
    return undefined
  } catch (error) {
    return error ?? new Error('nothing was thrown')
  }
}

function overBudget(limit: AbortSignal, seconds: number): Promise<never> {
  return rejectOn(
    limit,
    () =>
      new TimeoutError(`the scenario did not end within its budget of ${seconds} s`, { code: 'scenario' }),
  )
}

function interrupted(signal: AbortSignal): Promise<never> {
  return rejectOn(signal, () => new InterruptedError('the run was interrupted'))
}

function rejectOn(signal: AbortSignal, makeError: () => Error): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(makeError())
    else signal.addEventListener('abort', () => reject(makeError()), { once: true })
  })
}
