/** A whole run: from patterns and axes to results. */
import { availableParallelism, totalmem } from 'node:os'
import { InterruptedError, UsageError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform } from '../platforms/platforms.ts'
import { cleanStaleRuns, createRunDirectory } from '../system/run-directory.ts'
import { Scope } from '../system/scope.ts'
import type { Bench } from './bench.ts'
import { loadScenarios, scenarioIds, selectIds } from './discover.ts'
import {
  EVENT_SCHEMA_VERSION,
  type RunEventSink,
  type RunResult,
  type ScenarioResult,
  type VtpmKind,
} from './events.ts'
import { execute, notStarted } from './execute.ts'
import { type Axes, type PlannedPoint, plan } from './plan.ts'
import { type Sampling, samplingOf } from './power-cut/sampling.ts'
import { schedule } from './schedule.ts'
import { bestPlatform, firmwareBuild, openWorkshop, type Workshop } from './workshop.ts'

export interface RunRequest {
  readonly patterns: readonly string[]
  readonly platforms?: readonly PlatformId[]
  readonly vtpms?: readonly VtpmKind[]
  readonly firmware?: readonly string[]
  /** Image ids, or paths of descriptions of somebody's own disk. */
  readonly images?: readonly string[]
  readonly jobs?: number
  readonly keep: boolean
  /** Absent: what set-up was told. */
  readonly tools?: 'tree' | 'host'
  /** Prepare the first VM of each scenario, give its command lines as an event, start nothing. */
  readonly printArgv?: boolean
  /** Which states of a power cut are booted; absent: a few, drawn anew. */
  readonly sampling?: Partial<Sampling>
  readonly signal: AbortSignal
  readonly onEvent: RunEventSink
}

/** A scenario that tries all there is may take a day. */
const MOST_SECONDS = 86_400

/** Memory that QEMU and the harness need beside the guest's own, per VM. */
const OVERHEAD_MIB = 256

/**
 * Runs what the request selects. Rejects with what prevents the run as a whole: UsageError for patterns and axes,
 * HostError where set-up is missing. What breaks in a scenario is in its result.
 */
export async function runScenarios(request: RunRequest): Promise<RunResult> {
  const { onEvent: emit } = request
  await using scope = new Scope('run')
  const tell = (text: string): void => emit({ type: 'run-note', at: Date.now(), text })
  const [scenarios, workshop] = await Promise.all([
    scenarioIds().then((ids) => loadScenarios(selectIds(ids, request.patterns))),
    openWorkshop({ ...request, tell, scope, vtpm: wantsVtpm(request) }),
  ])
  const points = await planFor(request, scenarios, workshop)
  const { runs } = workshop.paths
  const [directory] = await Promise.all([createRunDirectory(scope, runs), cleanStaleRuns(runs)])
  const jobs = request.jobs ?? defaultJobs(points)
  const planned = points.map(({ key, id, variant }) => ({ key, scenario: id, variant }))
  emit({ type: 'run-started', at: Date.now(), version: EVENT_SCHEMA_VERSION, directory, planned, jobs })
  // Before the first scenario's clock runs: a build takes a minute where the cache is cold.
  await workshop.shelf.buildAll(new Set(points.flatMap(({ skip, variant }) => (skip ? [] : [variant.image]))))
  const run = (point: PlannedPoint) => runPoint({ point, request, workshop, directory })
  const results = await schedule(
    points.map((point) => ({ needs: resourcesOf(point), run: () => run(point) })),
    { jobs, vcpus: availableParallelism(), memoryMiB: Math.floor(totalmem() / 2 ** 20) },
  )
  const result: RunResult = { results }
  emit({ type: 'run-ended', at: Date.now(), result })
  return result
}

async function planFor(
  request: RunRequest,
  scenarios: Awaited<ReturnType<typeof loadScenarios>>,
  { host, shelf }: Workshop,
): Promise<readonly PlannedPoint[]> {
  const { platforms, vtpms, firmware, images } = request
  const axes: Axes = {
    platforms: platforms?.map(platform) ?? [bestPlatform(host)],
    ...(vtpms && { vtpms }),
    ...(firmware && { firmware: firmware.map((id) => firmwareBuild(id, host)) }),
    ...(images && { images: await describeOnce(images, shelf) }),
  }
  const named = images ? [] : scenarios.flatMap(({ scenario }) => scenario.images)
  const descriptions = await shelf.describeAll(named)
  return plan(scenarios, axes, { host, describe: (id) => descriptions.get(id) ?? unknownImage(id) })
}

/** One description may be named twice, as `a.yaml` and `./a.yaml`: two points would share a directory. */
async function describeOnce(
  images: readonly string[],
  shelf: Workshop['shelf'],
): Promise<readonly ImageDescription[]> {
  const described = await Promise.all(images.map((image) => shelf.describe(image)))
  return [...new Map(described.map((image) => [image.id, image])).values()]
}

interface PointRun {
  readonly point: PlannedPoint
  readonly request: RunRequest
  readonly workshop: Workshop
  readonly directory: string
}

async function runPoint({ point, request, workshop, directory }: PointRun): Promise<ScenarioResult> {
  const { onEvent: emit, signal, keep } = request
  if (point.skip || !point.firmware) return notStarted(point, point.skip, emit)
  if (signal.aborted)
    return notStarted(point, new InterruptedError('the run was interrupted before this began'), emit)
  const { platform, firmware, variant } = point
  const { context, host, keys, newVtpms, shelf } = workshop
  const sampling = samplingOf(request.sampling)
  const bench = async (): Promise<Bench> => ({
    ...context,
    ...{ platform, firmware, keys, newVtpms, image: await shelf.open(variant.image) },
    ...{ host: host.parameters, printArgv: request.printArgv ?? false, sampling },
  })
  const bound = sampling.states === 'all' ? { seconds: MOST_SECONDS } : {}
  return execute({ point, bench, runDirectory: directory, keep, ...bound, signal, emit })
}

function wantsVtpm({ vtpms }: RunRequest): boolean {
  return vtpms?.some((vtpm) => vtpm !== 'none') ?? true
}

function unknownImage(id: string): never {
  throw new UsageError(`no image is called "${id}"`, {
    code: 'unknown-image',
    hint: 'attestbed images lists them',
  })
}

/** One VM a core: under TCG each vCPU is a busy thread. */
function defaultJobs(points: readonly PlannedPoint[]): number {
  return Math.max(1, Math.min(points.length, availableParallelism()))
}

function resourcesOf({ found, skip }: PlannedPoint): { readonly vcpus: number; readonly memoryMiB: number } {
  const { vcpus, memoryMiB } = found.scenario.budget
  return skip ? { vcpus: 0, memoryMiB: 0 } : { vcpus, memoryMiB: memoryMiB + OVERHEAD_MIB }
}
