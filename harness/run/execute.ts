/** Runs one scenario on one point of the matrix, and turns whatever happens into a result. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { InterruptedError, TimeoutError } from '../base/errors.ts'
import { Scope } from '../system/scope.ts'
import { ClaimBook } from '../verdict/claims.ts'
import type { Bench } from './bench.ts'
import type { RunEventSink, ScenarioResult, VmBoot } from './events.ts'
import { faultOf, firstOfOurs } from './health.ts'
import { Lab } from './lab.ts'
import type { ScenarioEvent, VmEnd } from './lab-spec.ts'
import { judge } from './outcome.ts'
import type { PlannedPoint } from './plan.ts'
import { PrintedArgv } from './printed-argv.ts'

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
}

/** Never rejects: what breaks is an outcome. */
export async function execute(execution: Execution): Promise<ScenarioResult> {
  const { point, bench, runDirectory, keep, signal, emit } = execution
  const { found, variant, key, id } = point
  const { scenario } = found
  const seconds = execution.seconds ?? scenario.budget.seconds
  const startedAt = Date.now()
  const directory = join(runDirectory, folderOf(key))
  const boots: VmBoot[] = []
  const send = (event: ScenarioEvent): void => {
    if (event.type === 'boot-ended') boots.push({ vm: event.vm, ...event.boot })
    emit({ ...event, at: Date.now(), key })
  }
  const scratch: string[] = []
  const vtpmLogs: string[] = []
  const ends: VmEnd[] = []
  const claims = new ClaimBook(scenario.claims, point.platform.basis)
  send({ type: 'scenario-started', scenario: id, title: scenario.title, variant, directory })
  const thrown = await caught(async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await using scope = new Scope(key)
    const limit = AbortSignal.timeout(seconds * 1000)
    const lab = new Lab<string>({
      ...{ variant, directory, scope, claims, scratch, vtpmLogs, ends, emit: send, bench: await bench() },
      basis: point.platform.basis,
      budget: scenario.budget,
      secureBoot: scenario.needs.secureBoot,
      signal: AbortSignal.any([signal, limit]),
    })
    // Before the scope closes: a scenario that lost the race goes on, and sees its VMs being torn down.
    using _ = { [Symbol.dispose]: () => claims.close() }
    await Promise.race([scenario.run(lab), overBudget(limit, seconds), interrupted(signal)])
  })
  if (thrown instanceof PrintedArgv) send({ type: 'command-lines', commands: thrown.commands })
  const judged =
    thrown instanceof PrintedArgv
      ? { outcome: 'skip' as const, reason: 'argv-printed: nothing was started' }
      : judge({
          ...{ claims: claims.decided, undecided: claims.undecided, thrown: firstOfOurs(thrown) },
          fault: await faultOf({ directory, vtpmLogs, ends }).catch((error: unknown) => error),
        })
  if (!keep && judged.outcome === 'pass') await Promise.all(scratch.map((file) => rm(file, { force: true })))
  const result: ScenarioResult = {
    ...{ scenario: id, variant, ...judged },
    seconds: (Date.now() - startedAt) / 1000,
    ...{ claims: claims.decided, ...(boots.length > 0 && { boots }), dir: directory },
  }
  send({ type: 'scenario-ended', result })
  return result
}

/** The result of a point that nothing is started for: a skip for what the host lacks, else an error. */
export function notStarted(point: PlannedPoint, thrown: unknown, emit: RunEventSink): ScenarioResult {
  const result: ScenarioResult = {
    ...{ scenario: point.id, variant: point.variant },
    ...judge({ claims: [], undecided: [], thrown }),
    ...{ seconds: 0, claims: [], dir: '' },
  }
  emit({ type: 'scenario-ended', at: Date.now(), key: point.key, result })
  return result
}

/** A folder name out of a key: no slash, nothing that a shell would want quoted. */
function folderOf(key: string): string {
  return key.replaceAll('/', '.').replaceAll(/[@,]/g, '-')
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
