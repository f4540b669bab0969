/** From scenarios and axes to points of the matrix: what will run, and why the rest is skipped. */
import { basename } from 'node:path'
import { HostError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { Diagnosis } from '../platforms/diagnose.ts'
import { emulatedPlatform } from '../platforms/emulated/emulated-platform.ts'
import { firmwareFor } from '../platforms/firmware.ts'
import { PLATFORMS, platform as platformOf } from '../platforms/platforms.ts'
import { type FirmwareBuild, firmwareFact } from '../probe/firmware.ts'
import type { FoundScenario } from './discover.ts'
import type { Variant, VtpmKind } from './events.ts'
import { lackOfRoom, type Room } from './room.ts'
import type { Tee } from './scenario.ts'

type PlanHost = Pick<Diagnosis, 'report' | 'firmware'>

/** A QEMU to run guests with, and what this host can do with it. */
export interface QemuChoice {
  /** `tools`, `host`, or its path. */
  readonly id: string
  readonly host: PlanHost
}

/** What the user asked for; an absent axis means that the plan chooses. */
export interface Axes {
  readonly platforms: readonly PlatformDescriptor[]
  /** Nobody named one: `platforms` is the best that this host has, and another host's may be another. */
  readonly isOwnPlatform?: boolean
  /** TEEs are emulated on this, also where the host has them. */
  readonly emulatedOn?: PlatformDescriptor
  readonly vtpms?: readonly VtpmKind[]
  /**
   * Who names the vTPMs; absent: flags. Flags and axes select among the kinds that a scenario has. But where an include
   * names one that it has not, or the axes name no other, that is planned and skipped: what a file asks for must not vanish.
   */
  readonly vtpmsOf?: 'flags' | 'axes' | 'include'
  readonly firmware?: readonly FirmwareBuild[]
  /** Absent: the images that each scenario names. */
  readonly images?: readonly ImageDescription[]
  /** Absent: the one of the tools. */
  readonly qemus?: readonly QemuChoice[]
  /** Absent: as many as each scenario needs; so is memory. */
  readonly vcpus?: readonly number[]
  readonly memoryMiB?: readonly number[]
}

export interface PlannedPoint {
  /** Identifies the point within a run, and its folder in the run directory. */
  readonly key: string
  /** What was asked for, the same on every host: the key without the platform or firmware that this host chose. */
  readonly asked: string
  readonly id: string
  readonly found: FoundScenario
  readonly variant: Variant
  readonly platform: PlatformDescriptor
  /** Absent in tests: an image of no known size. */
  readonly image?: ImageDescription
  /** Absent for a point that is skipped. */
  readonly firmware?: FirmwareBuild
  /** Of a disk that somebody brought: the file that describes it. */
  readonly imageFile?: string
  /** Why it is skipped, with a code. */
  readonly skip?: HostError
  /** Why the matrix marks it as unstable. */
  readonly unstable?: string
  /** From 1, where the run repeats its points. */
  readonly repetition?: number
}

/** Describes image ids that scenarios name; read from their recipes. */
export type DescribeImage = (id: string) => ImageDescription

export interface PlanContext {
  /** With the QEMU of the tools. */
  readonly host: PlanHost
  readonly describe: DescribeImage
  /** What the host has for guests; absent: enough. */
  readonly room?: Room
  /** For a host that is not this one: what this one lacks is no reason to skip. */
  readonly anyHost?: boolean
}

export const TOOLS_QEMU = 'tools'

/** Every point, skipped ones included, in the order of scenarios. Pure. */
export function plan(
  scenarios: readonly FoundScenario[],
  axes: Axes,
  context: PlanContext,
): readonly PlannedPoint[] {
  return scenarios.flatMap((found) => pointsOf(found, axes, context))
}

/** What a scenario spans: its own values where the user names none on an axis, else those of the user that it allows. */
export function spanOf({ scenario }: FoundScenario, axes: Axes, context: PlanContext) {
  const { host, describe } = context
  return {
    platforms: scenario.tees ? teesOf(scenario.tees, axes, context) : axes.platforms,
    vtpms: spannedVtpms(scenario.vtpms, axes),
    images: axes.images ?? scenario.images.map(describe),
    builds: axes.firmware ?? [undefined],
    qemus: axes.qemus ?? [{ id: TOOLS_QEMU, host }],
    vcpus: axes.vcpus ?? [scenario.budget.vcpus],
    memories: axes.memoryMiB ?? [scenario.budget.memoryMiB],
  }
}

/**
 * The scenario's TEES on a host: as they are where the host has them, else emulated. A plain platform that the user names
 * is what emulated ones run on; a TEE that the user names leaves the others out. What has neither is planned and skipped.
 */
function teesOf(
  tees: readonly Tee[],
  { platforms, isOwnPlatform, emulatedOn }: Axes,
  { host, anyHost }: PlanContext,
): readonly PlatformDescriptor[] {
  const isUsable = ({ id }: PlatformDescriptor) => host.report.platforms[id]?.usable === true
  const real = (tee: PlatformDescriptor) =>
    emulatedOn === undefined && (anyHost || isUsable(tee)) ? tee : undefined
  const own = emulatedOn
    ? [emulatedOn]
    : PLATFORMS.filter((each) => each.basis === 'emulated' && isUsable(each))
  const emulated = (tee: PlatformDescriptor, bases: readonly PlatformDescriptor[]) =>
    bases.map((on) => emulatedPlatform(tee, on)).find((each) => each !== undefined)
  const all = tees.map(platformOf)
  // None at all is what flags leave of the axes where these name others: not every one.
  if (isOwnPlatform) return all.map((tee) => real(tee) ?? emulated(tee, own) ?? tee)
  return platforms.flatMap((platform) => {
    if (platform.basis === 'emulated') return all.map((tee) => emulated(tee, [platform]) ?? tee)
    return [all.includes(platform) ? (real(platform) ?? emulated(platform, own) ?? platform) : platform]
  })
}

function spannedVtpms(own: readonly VtpmKind[], { vtpms, vtpmsOf }: Axes): readonly VtpmKind[] {
  if (vtpms === undefined) return own
  const common = own.filter((vtpm) => vtpms.includes(vtpm))
  if (vtpmsOf === 'include' || (vtpmsOf === 'axes' && common.length === 0)) return vtpms
  return common
}

function pointsOf(found: FoundScenario, axes: Axes, context: PlanContext): readonly PlannedPoint[] {
  const { platforms, vtpms, images, builds, qemus, vcpus, memories } = spanOf(found, axes, context)
  const points: PlannedPoint[] = []
  // The same for every size of a VM, and the part that takes time.
  const choices = new Map<string, FirmwareOf>()
  for (const platform of platforms)
    for (const vtpm of vtpms)
      for (const image of images)
        for (const build of builds)
          for (const qemu of qemus) {
            const id = [labelOf(platform), vtpm, image.id, build?.id, qemu.id].join('\n')
            const isOwnPlatform = axes.isOwnPlatform ?? false
            const request = { found, platform, isOwnPlatform, vtpm, image, build, qemu, context }
            const choice = choices.get(id) ?? firmwareOf(request)
            choices.set(id, choice)
            for (const vcpuCount of vcpus)
              for (const memoryMiB of memories)
                points.push(point({ ...request, vcpus: vcpuCount, memoryMiB }, choice))
          }
  return points
}

interface FirmwareQuestion {
  readonly found: FoundScenario
  readonly platform: PlatformDescriptor
  readonly isOwnPlatform: boolean
  readonly vtpm: VtpmKind
  readonly image: ImageDescription
  readonly build: FirmwareBuild | undefined
  readonly qemu: QemuChoice
  readonly context: PlanContext
}

interface FirmwareOf {
  readonly firmware: FirmwareBuild | undefined
  readonly skip: HostError | undefined
}

function firmwareOf(question: FirmwareQuestion): FirmwareOf {
  const { found, platform, image, build, qemu, context } = question
  const { secureBoot, persistentVariables, firmwareLoad, firmwareKeys } = found.scenario.needs
  const builds = build ? [build] : qemu.host.firmware
  const stock = { builds, facts: context.anyHost ? allPresent(platform, builds) : qemu.host.report.facts }
  const shippedKeys = firmwareKeys ?? shippedKeysFor(image, secureBoot)
  const request = {
    secureBoot,
    persistentVariables,
    shippedKeys,
    measuresIntoTpm: restsOnMeasurements(question) || readsVtpm(platform),
    ...(firmwareLoad && { load: firmwareLoad }),
  }
  const choice = firmwareFor(platform, request, stock)
  const skip =
    lackingTee(question) ??
    (context.anyHost ? undefined : unusable(platform.emulated?.on ?? platform, qemu)) ??
    lackingVtpm(question) ??
    lackingImage(question) ??
    (choice.kind === 'none' ? new HostError(choice.reason, { code: 'platform-unusable' }) : undefined)
  return { firmware: choice.kind === 'found' ? choice.build : build, skip }
}

/** Its registers are what the firmware measures into a vTPM. */
function readsVtpm({ emulated }: PlatformDescriptor): boolean {
  return emulated?.tee.emulation?.readsVtpm ?? false
}

/** Of a vTPM that a scenario could do without, the guest at most makes use. */
function restsOnMeasurements({ vtpm, found: { scenario } }: FirmwareQuestion): boolean {
  return vtpm !== 'none' && !scenario.vtpms.includes('none')
}

/** As if every build were among the tools, and SMM worked. */
function allPresent(
  { standIn, smmFact = standIn?.smmFact }: PlatformDescriptor,
  builds: readonly FirmwareBuild[],
) {
  const ids = [...builds.map(firmwareFact), ...(smmFact === undefined ? [] : [smmFact])]
  return ids.map((id) => ({ id, status: 'yes' as const, proof: '', hint: '' }))
}

interface Candidate extends FirmwareQuestion {
  readonly vcpus: number
  readonly memoryMiB: number
}

function point(candidate: Candidate, choice: FirmwareOf): PlannedPoint {
  const { found, platform, vtpm, image, qemu, vcpus, memoryMiB, context } = candidate
  const { firmware } = choice
  const variant: Variant = {
    ...{ platform: platform.id, vtpm, firmware: firmware?.id ?? 'none', image: image.id },
    ...{ qemu: qemu.id, vcpus, memoryMiB },
    ...(platform.emulated && { emulatedOn: platform.emulated.on.id }),
  }
  const skip =
    choice.skip ??
    belowNeed(candidate) ??
    (context.anyHost || !context.room ? undefined : lackOfRoom(variant, context.room, image))
  // Another host may have the TEE itself.
  const asked = keyOf(found, { ...variant, emulatedOn: undefined, ...askedValues(candidate) })
  return {
    ...{ key: keyOf(found, variant), asked, id: found.id, found, variant, platform, image },
    ...(image.origin === 'brought' && { imageFile: image.file }),
    ...(skip ? { skip } : firmware && { firmware }),
  }
}

interface KeyedVariant extends Omit<Variant, 'platform' | 'emulatedOn'> {
  readonly platform: string
  readonly emulatedOn?: string | undefined
}

/** Where they differ from the variant's: a checkout may lie elsewhere on another host, and its QEMU with it. */
function askedValues({ found, platform, isOwnPlatform, build, qemu }: Candidate) {
  return {
    platform: isOwnPlatform && !found.scenario.tees ? 'best' : platform.id,
    firmware: build?.id ?? 'any',
    qemu: basename(qemu.id),
  }
}

/** Names only what differs from what runs without a matrix: an axis that is added later leaves keys as they are. */
function keyOf({ id, scenario }: FoundScenario, variant: KeyedVariant): string {
  const { platform, emulatedOn, vtpm, firmware, image, qemu, vcpus, memoryMiB } = variant
  const { budget } = scenario
  return [
    `${id}@${platform}${emulatedOn === undefined ? '' : `.on-${emulatedOn}`},${vtpm},${firmware},${image}`,
    ...(qemu === TOOLS_QEMU ? [] : [`qemu=${qemu}`]),
    ...(vcpus === budget.vcpus ? [] : [`vcpus=${vcpus}`]),
    ...(memoryMiB === budget.memoryMiB ? [] : [`memory=${memoryMiB}M`]),
  ].join(',')
}

function unusable(platform: PlatformDescriptor, { id, host }: QemuChoice): HostError | undefined {
  const verdict = host.report.platforms[platform.id]
  if (verdict?.usable) return undefined
  const withIt = id === TOOLS_QEMU ? '' : ` with QEMU ${id}`
  return new HostError(
    `platform ${platform.id} cannot be used here${withIt}: ${verdict?.reason ?? 'it was not probed'}`,
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

function lackingTee({ found: { id, scenario }, platform }: FirmwareQuestion): HostError | undefined {
  const { tees } = scenario
  if (tees === undefined || tees.some((tee) => tee === platform.id)) return undefined
  return new HostError(`${id} is about ${tees.join(' and ')}, ${platform.id} is neither`, {
    code: 'scenario-lacks',
  })
}

function labelOf({ id, emulated }: PlatformDescriptor): string {
  return emulated ? `${id} on ${emulated.on.id}` : id
}

function lackingVtpm({ found: { id, scenario }, vtpm }: FirmwareQuestion): HostError | undefined {
  if (scenario.vtpms.includes(vtpm)) return undefined
  const wanted = `${id} runs with vtpm ${scenario.vtpms.join(' or ')}`
  return new HostError(`${wanted}, the matrix names ${vtpm}`, { code: 'scenario-lacks' })
}

function lackingImage({ found, image }: FirmwareQuestion): HostError | undefined {
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

/** Less than what the scenario was written for: what then fails says nothing. */
function belowNeed({ found, vcpus, memoryMiB }: Candidate): HostError | undefined {
  const { budget } = found.scenario
  const below = [
    ...(vcpus < budget.vcpus ? [`${budget.vcpus} vCPUs, the variant has ${vcpus}`] : []),
    ...(memoryMiB < budget.memoryMiB
      ? [`${budget.memoryMiB} MiB of memory, the variant has ${memoryMiB}`]
      : []),
  ]
  if (below.length === 0) return undefined
  return new HostError(`${found.id} needs ${below.join(' and ')}`, { code: 'below-need' })
}
