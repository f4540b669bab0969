/** A whole run: from patterns and axes to results. */
import { availableParallelism } from 'node:os'
import { HostError, InterruptedError, TimeoutError } from '../base/errors.ts'
import { requireFreeSpace } from '../system/disk-space.ts'
import { cleanStaleRuns, createRunDirectory } from '../system/run-directory.ts'
import { Scope } from '../system/scope.ts'
import type { Bench } from './bench.ts'
import {
  EVENT_SCHEMA_VERSION,
  type PlannedEntry,
  type RunEventSink,
  type RunResult,
  type ScenarioResult,
} from './events.ts'
import { type Execution, executeRetrying, notStarted } from './execute.ts'
import { failsRun } from './outcome.ts'
import type { PlannedPoint } from './plan.ts'
import { type PlanRequest, planRun, type RunPlan, selectScenarios } from './planning.ts'
import { type Sampling, samplingOf, secondsFor } from './power-cut/sampling.ts'
import { demandOf, diskBytesOf, NO_DEMAND } from './room.ts'
import { type Repetition, roundOf, runRounds } from './rounds.ts'
import { describeHost } from './run-host.ts'
import { recordRun } from './run-record.ts'
import { schedule } from './schedule.ts'
import { type MaterialSwaps, swapFirmware } from './swaps.ts'
import { openWorkshop, type Workshop } from './workshop.ts'

export interface RunRequest extends PlanRequest, Repetition {
  readonly jobs?: number
  readonly keep: boolean
  /** Absent: what set-up was told. */
  readonly tools?: 'tree' | 'host'
  /** Prepare the first VM of each scenario, give its command lines as an event, start nothing. */
  readonly printArgv?: boolean
  /** How often an attempt that broke is followed by another; a fail never is. Absent: the matrix's, or 0. */
  readonly retries?: number
  /** Which states of a power cut are booted; absent: a few, drawn anew. */
  readonly sampling?: Partial<Sampling>
  /** In place of the usual materials. */
  readonly swaps?: MaterialSwaps
  /** Called where a scenario fails or breaks, while its VMs still run; the scenario ends when it resolves. */
  readonly onFailure?: Execution['onFailure']
  /** The words of the command line, for the record. */
  readonly argv?: readonly string[]
  readonly signal: AbortSignal
  readonly onEvent: RunEventSink
}

/**
 * Runs what the request selects. Rejects with what prevents the run as a whole: UsageError for patterns, axes and
 * matrix, HostError where set-up is missing. What breaks in a scenario is in its result.
 */
export async function runScenarios(request: RunRequest): Promise<RunResult> {
  const { onEvent: emit } = request
  await using scope = new Scope('run')
  const tell = (text: string): void => emit({ type: 'run-note', at: Date.now(), text })
  const [selection, workshop] = await Promise.all([
    selectScenarios(request),
    openWorkshop({ ...request, tell, scope, vtpm: wantsVtpm(request) }),
  ])
  const plan = await planRun(request, selection, { ...workshop, tools: workshop.context.tools })
  const { runs } = workshop.paths
  const [directory] = await Promise.all([createRunDirectory(scope, runs), cleanStaleRuns(runs)])
  const jobs = request.jobs ?? plan.budget.jobs ?? defaultJobs(plan.points)
  // Drawn once: with it the whole run can be had again.
  const sampling = samplingOf(request.sampling)
  const { tools } = workshop.context
  const record = { argv: request.argv ?? [], tools, sampling, host: workshop.host.report }
  await recordRun(directory, record)
  const run = new Run({ request, plan, workshop, directory, jobs, sampling })
  const planned = entriesOf(roundOf(plan.points, 1, request))
  const about = { directory, planned, jobs, host: describeHost() }
  emit({ type: 'run-started', at: Date.now(), version: EVENT_SCHEMA_VERSION, ...about })
  for (const { place, reason, until } of plan.expired)
    tell(`${place}: the mark "${reason}" held until ${until}: what it skipped runs again, and the run fails`)
  // Before the first scenario's clock runs: a build takes a minute where the cache is cold.
  await workshop.shelf.buildAll(
    new Set(plan.points.flatMap(({ skip, variant }) => (skip ? [] : [variant.image]))),
  )
  const results = await runRounds(plan.points, {
    ...request,
    run: (points) => run.all(points),
    isOver: () => run.failed || request.signal.aborted,
    announce: (points) => emit({ type: 'run-extended', at: Date.now(), planned: entriesOf(points) }),
  })
  const { otherShards } = plan.leftOut
  const result: RunResult = {
    results,
    ...(plan.expired.length > 0 && { expired: plan.expired }),
    ...(otherShards > 0 && { otherShards }),
  }
  emit({ type: 'run-ended', at: Date.now(), result })
  return result
}

interface RunParts {
  readonly request: RunRequest
  readonly plan: RunPlan
  readonly workshop: Workshop
  readonly directory: string
  readonly jobs: number
  readonly sampling: Sampling
}

class Run {
  readonly #parts: RunParts
  readonly #startedAt = Date.now()
  #failed = false

  constructor(parts: RunParts) {
    this.#parts = parts
  }

  get failed(): boolean {
    return this.#failed
  }

  all(points: readonly PlannedPoint[]): Promise<readonly ScenarioResult[]> {
    const { request, plan, jobs } = this.#parts
    const tasks = points.map((point) => ({
      needs: point.skip ? NO_DEMAND : demandOf(point.variant, { ...point.platform, image: point.image }),
      seconds: point.skip ? 0 : point.found.scenario.budget.seconds,
      run: async () => this.#seen(await this.#runPoint(point)),
      tooLarge: (resource: string, most: number) =>
        this.#seen(notStarted(point, noRoom(point, resource, most), request.onEvent)),
    }))
    return schedule(tasks, { ...plan.room, jobs })
  }

  async #runPoint(point: PlannedPoint): Promise<ScenarioResult> {
    const { request, plan, workshop, directory, sampling } = this.#parts
    const { onEvent: emit, signal, keep } = request
    const { platform, variant } = point
    const firmware = point.firmware && swapFirmware(point.firmware, request.swaps?.firmware)
    if (point.skip || !firmware) return notStarted(point, point.skip, emit)
    const prevented = await this.#prevented(point)
    if (prevented) return notStarted(point, prevented, emit)
    const { context, keys, newVtpms, shelf } = workshop
    const bench = async (): Promise<Bench> => {
      const qemu = await plan.qemu(variant.qemu)
      return {
        ...{ ...context, tools: qemu.tools, host: qemu.host.parameters },
        ...{ platform, firmware, keys, newVtpms, image: await shelf.open(variant.image) },
        ...{ printArgv: request.printArgv ?? false, sampling },
      }
    }
    const retries = request.retries ?? plan.budget.retries ?? 0
    const seconds = secondsFor(point.found.scenario.budget, sampling)
    const { onFailure } = request
    const execution = {
      ...{ seconds, point, bench, runDirectory: directory, keep, signal, emit },
      ...(onFailure && { onFailure }),
    }
    return executeRetrying(execution, retries)
  }

  /** What was never started can fail the run, too: on a disk that is full, one round would follow the other. */
  #seen(result: ScenarioResult): ScenarioResult {
    if (failsRun(result)) this.#failed = true
    return result
  }

  /** What keeps a point from being started now. */
  async #prevented({ image }: PlannedPoint): Promise<Error | undefined> {
    const { request, plan, directory } = this.#parts
    if (request.signal.aborted) return new InterruptedError('the run was interrupted before this began')
    if (request.untilFailure && this.#failed)
      return new HostError('something failed before this began', { code: 'not-reached' })
    const { minutes } = plan.budget
    if (minutes !== undefined && Date.now() - this.#startedAt > minutes * 60_000) {
      this.#failed = true
      return new TimeoutError(`the run used up its budget of ${minutes} min before this began`, {
        code: 'run',
      })
    }
    return requireFreeSpace(directory, diskBytesOf(image ?? {}), 'the files of a scenario').then(
      () => undefined,
      (error: Error) => error,
    )
  }
}

function entriesOf(points: readonly PlannedPoint[]): readonly PlannedEntry[] {
  return points.map(({ key, id, variant, repetition }) => {
    return { key, scenario: id, variant, ...(repetition !== undefined && { repetition }) }
  })
}

function noRoom({ platform }: PlannedPoint, resource: string, most: number): HostError {
  return new HostError(`a guest of ${platform.id} takes more ${resource} than the ${most} that are left`, {
    code: 'no-guest-slot',
    hint: 'attestbed doctor says how many guests there is room for',
  })
}

function wantsVtpm({ vtpms }: RunRequest): boolean {
  return vtpms?.some((vtpm) => vtpm !== 'none') ?? true
}

/** One VM a core: under TCG each vCPU is a busy thread. */
function defaultJobs(points: readonly PlannedPoint[]): number {
  return Math.max(1, Math.min(points.length, availableParallelism()))
}
