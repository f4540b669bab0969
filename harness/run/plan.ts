/** From scenarios and axes to points of the matrix: what will run, and why the rest is skipped. */
import { HostError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { Diagnosis } from '../platforms/diagnose.ts'
import { firmwareFor } from '../platforms/firmware.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import type { FoundScenario } from './discover.ts'
import type { Variant, VtpmKind } from './events.ts'

/** What the user asked for; an absent axis means that the plan chooses. */
export interface Axes {
  readonly platforms: readonly PlatformDescriptor[]
  readonly vtpms?: readonly VtpmKind[]
  readonly firmware?: readonly FirmwareBuild[]
  /** Absent: the images that each scenario names. */
  readonly images?: readonly ImageDescription[]
}

export interface PlannedPoint {
  /** Identifies the point within a run, and its folder in the run directory. */
  readonly key: string
  readonly id: string
  readonly found: FoundScenario
  readonly variant: Variant
  readonly platform: PlatformDescriptor
  /** Absent for a point that is skipped. */
  readonly firmware?: FirmwareBuild
  /** Why it is skipped, with a code. */
  readonly skip?: HostError
}

/** Describes image ids that scenarios name; read from their recipes. */
export type DescribeImage = (id: string) => ImageDescription

/** Every point, skipped ones included, in the order of scenarios. Pure. */
export function plan(
  scenarios: readonly FoundScenario[],
  axes: Axes,
  {
    host,
    describe,
  }: { readonly host: Pick<Diagnosis, 'report' | 'firmware'>; readonly describe: DescribeImage },
): readonly PlannedPoint[] {
  return scenarios.flatMap((found) => {
    const { scenario } = found
    const vtpms = scenario.vtpms.filter((vtpm) => axes.vtpms === undefined || axes.vtpms.includes(vtpm))
    const images = axes.images ?? scenario.images.map(describe)
    return axes.platforms.flatMap((platform) =>
      vtpms.flatMap((vtpm) =>
        images.flatMap((image) => pointsFor({ found, platform, vtpm, image, axes, host })),
      ),
    )
  })
}

interface Candidate {
  readonly found: FoundScenario
  readonly platform: PlatformDescriptor
  readonly vtpm: VtpmKind
  readonly image: ImageDescription
  readonly axes: Axes
  readonly host: Pick<Diagnosis, 'report' | 'firmware'>
}

function pointsFor(candidate: Candidate): readonly PlannedPoint[] {
  const { axes, host, platform, found, image } = candidate
  const { secureBoot, persistentVariables, firmwareLoad, firmwareKeys } = found.scenario.needs
  const builds = axes.firmware ?? [undefined]
  return builds.map((build) => {
    const stock = { builds: build ? [build] : host.firmware, facts: host.report.facts }
    const shippedKeys = firmwareKeys ?? shippedKeysFor(image, secureBoot)
    const request = {
      secureBoot,
      persistentVariables,
      shippedKeys,
      measuresIntoTpm: restsOnMeasurements(candidate),
      ...(firmwareLoad && { load: firmwareLoad }),
    }
    const choice = firmwareFor(platform, request, stock)
    const skip =
      unusable(platform, host) ??
      lackingImage(candidate) ??
      (choice.kind === 'none' ? new HostError(choice.reason, { code: 'platform-unusable' }) : undefined)
    const firmware = choice.kind === 'found' ? choice.build : build
    return point(candidate, firmware, skip)
  })
}

/** Of a vTPM that a scenario could do without, the guest at most makes use. */
function restsOnMeasurements({ vtpm, found: { scenario } }: Candidate): boolean {
  return vtpm !== 'none' && !scenario.vtpms.includes('none')
}

function point(
  candidate: Candidate,
  firmware: FirmwareBuild | undefined,
  skip: HostError | undefined,
): PlannedPoint {
  const { found, platform, vtpm, image } = candidate
  const variant: Variant = { platform: platform.id, vtpm, firmware: firmware?.id ?? 'none', image: image.id }
  const key = `${found.id}@${variant.platform},${vtpm},${variant.firmware},${image.id}`
  const common = { key, id: found.id, found, variant, platform }
  if (skip) return { ...common, skip }
  return firmware ? { ...common, firmware } : common
}

function unusable(
  platform: PlatformDescriptor,
  { report }: Pick<Diagnosis, 'report'>,
): HostError | undefined {
  const verdict = report.platforms[platform.id]
  if (verdict?.usable) return undefined
  return new HostError(
    `platform ${platform.id} cannot be used here: ${verdict?.reason ?? 'it was not probed'}`,
    {
      code: 'platform-unusable',
      hint: 'attestbed doctor says what is missing',
    },
  )
}

/** A distribution's own loader is signed for keys that the firmware must bring: ours would refuse it. */
export function shippedKeysFor(
  { secureBoot: keys }: ImageDescription,
  secureBoot: boolean,
): FirmwareBuild['keys'] | undefined {
  return secureBoot && keys === 'microsoft' ? keys : undefined
}

function lackingImage({ found, image }: Candidate): HostError | undefined {
  const { needs } = found.scenario
  const lacking = [
    ...needs.image.filter((need) => !image.capabilities.has(need)),
    ...(needs.secureBoot && image.secureBoot === 'off' ? ['Secure Boot (secureBoot: off)'] : []),
  ]
  if (lacking.length === 0) return undefined
  return new HostError(`image ${image.id} lacks ${lacking.join(', ')}, which ${found.id} requires`, {
    code: 'image-lacks',
  })
}
