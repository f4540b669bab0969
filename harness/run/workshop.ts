/** What a run and a shell begin with: tools, cache, this host, keys, images. */
import { HostError, UsageError } from '../base/errors.ts'
import type { MaterialContext, MaterialStep } from '../materials/context.ts'
import { ensureKeys, type SigningKeys } from '../materials/keys.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import { type Diagnosis, diagnoseHost } from '../platforms/diagnose.ts'
import { PLATFORMS, platform } from '../platforms/platforms.ts'
import { rankPlatforms } from '../platforms/report.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { type Paths, resolvePaths } from '../system/paths.ts'
import type { Scope } from '../system/scope.ts'
import { Store } from '../system/store.ts'
import { openTools } from '../system/tools.ts'
import { ImageShelf } from './image-shelf.ts'
import type { MaterialSwaps } from './swaps.ts'
import { NewVtpms } from './vtpm-ahead.ts'

export interface WorkshopRequest {
  /** Absent: what set-up was told. */
  readonly tools?: 'tree' | 'host'
  readonly signal: AbortSignal
  /** A line for each step of building something that the cache lacks. */
  readonly tell: (text: string) => void
  /** What is begun ahead ends with it. */
  readonly scope: Scope
  /** A VM with a vTPM will be asked for, as far as is known yet. */
  readonly vtpm: boolean
  /** Kernel and stub of what is built. */
  readonly swaps?: MaterialSwaps | undefined
}

export interface Workshop {
  readonly context: MaterialContext
  readonly paths: Paths
  readonly host: Diagnosis
  readonly keys: SigningKeys
  readonly shelf: ImageShelf
  readonly newVtpms: NewVtpms
}

/** Throws HostError `setup-missing`, UsageError for a broken manifest. */
export async function openWorkshop(request: WorkshopRequest): Promise<Workshop> {
  const { tools: choice, signal, tell, swaps = {} } = request
  const paths = resolvePaths()
  const tools = await chosenTools(choice)
  const context = {
    tools,
    store: new Store(paths.cache),
    paths,
    signal,
    progress: tellSteps(tell),
    stub: swaps.stub,
  }
  const newVtpms = new NewVtpms(tools)
  if (request.vtpm) newVtpms.makeAhead(request.scope)
  const [host, keys] = await Promise.all([diagnoseHost({ paths, tools }), ensureKeys(context)])
  return { context, paths, host, keys, shelf: new ImageShelf(context, swaps), newVtpms }
}

/** A line a step; how far a step has come is for a view that can overwrite its lines. */
function tellSteps(tell: (text: string) => void): (step: MaterialStep) => void {
  let last = ''
  return ({ image, step }) => {
    const text = `building ${image}: ${step}`
    if (text !== last) tell(text)
    last = text
  }
}

/** What a plan is made with: nothing of it is written to. */
export type PlanningOffice = Pick<Workshop, 'paths' | 'host' | 'shelf'> & {
  readonly tools: MaterialContext['tools']
}

/** Throws as `openWorkshop`. */
export async function openPlanningOffice(choice: 'tree' | 'host' | undefined): Promise<PlanningOffice> {
  const paths = resolvePaths()
  const tools = await chosenTools(choice)
  const shelf = new ImageShelf({ tools, store: new Store(paths.cache), paths })
  return { paths, tools, shelf, host: await diagnoseHost({ paths, tools }) }
}

function chosenTools(choice: 'tree' | 'host' | undefined): ReturnType<typeof openTools> {
  return openTools(choice ? { environment: { ...process.env, ATTESTBED_TOOLS: choice } } : {})
}

/** Throws HostError `platform-unusable` with every platform's reason where there is none. */
export function bestPlatform({ report }: Diagnosis): PlatformDescriptor {
  const [best] = rankPlatforms(report)
  if (best) return platform(best)
  const reasons = PLATFORMS.map(({ id }) => `${id}: ${report.platforms[id]?.reason ?? 'unknown'}`)
  throw new HostError(`no platform can be used on this host\n${reasons.join('\n')}`, {
    code: 'platform-unusable',
    hint: 'attestbed doctor says what is missing',
  })
}

/** Throws UsageError `bad-value` for an id that the manifest does not have. */
export function firmwareBuild(id: string, { firmware }: Diagnosis): FirmwareBuild {
  const build = firmware.find((candidate) => candidate.id === id)
  if (build) return build
  throw new UsageError(
    `no firmware is called "${id}"; there are ${firmware.map((each) => each.id).join(', ')}`,
    { code: 'bad-value' },
  )
}
