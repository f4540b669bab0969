/** Which firmware exists, and which of it a platform can use for what is asked. */

import { extname, join } from 'node:path'
import { readKnownYaml } from '../materials/known-yaml.ts'
import type { Fact } from '../probe/facts.ts'
import { type FirmwareBuild, firmwareFact } from '../probe/firmware.ts'
import type { PlatformDescriptor } from './descriptor.ts'

/** What decides whether the manifest is right. */
const DECIDED_BY = ['firmware-schema', '../probe/firmware', '../materials/yaml-file'].map((name) =>
  join(import.meta.dirname, `${name}${extname(import.meta.filename)}`),
)

/** Reads `<checkout>/ovmf/manifest.yaml`. Throws UsageError 'bad-config' with the position of a mistake. */
export async function readFirmwareManifest(checkout: string): Promise<readonly FirmwareBuild[]> {
  const { firmware } = await readKnownYaml(join(checkout, 'ovmf/manifest.yaml'), {
    load: async () => (await import('./firmware-schema.ts')).firmwareManifestSchema,
    decidedBy: DECIDED_BY,
  })
  return firmware.map(({ variables, ...build }) =>
    variables === undefined ? build : { ...build, variables },
  )
}

export interface FirmwareRequest {
  /** Secure Boot must be enforced with keys of our own; false: the keys are none of the scenario's business. */
  readonly secureBoot: boolean
  /** EFI variables must survive a reset and a relaunch. */
  readonly persistentVariables?: boolean
  /** What it starts must be measured into the vTPM. */
  readonly measuresIntoTpm?: boolean
  /** Loaded so and not otherwise; absent: as the platform likes best. */
  readonly load?: 'bios' | 'pflash'
  /** Whose keys the build has to bring; absent: they are enrolled, or none are needed. */
  readonly shippedKeys?: FirmwareBuild['keys'] | undefined
}

export type FirmwareChoice =
  | { readonly kind: 'found'; readonly build: FirmwareBuild }
  /** `reason` is a clause for a skip: what exists, and what it lacks. */
  | { readonly kind: 'none'; readonly reason: string }

export interface FirmwareStock {
  /** All builds of the manifest; the first that fits is taken. */
  readonly builds: readonly FirmwareBuild[]
  /** Of the host, with `firmware-<id>` and the SMM facts. */
  readonly facts: readonly Fact[]
}

/** The firmware for a platform and a request, or why there is none. */
export function firmwareFor(
  platform: PlatformDescriptor,
  request: FirmwareRequest,
  stock: FirmwareStock,
): FirmwareChoice {
  const own = ownFirmware(platform, request, stock)
  if (own.kind === 'found' || !platform.standIn || !isForStandIn(request)) return own
  const other = ownFirmware({ ...platform, ...platform.standIn }, request, stock)
  return other.kind === 'found' ? other : own
}

/** What no build for TEEs does at once. It is loaded otherwise than theirs, and keeps no more variables than they do. */
function isForStandIn(request: FirmwareRequest): boolean {
  const { secureBoot, measuresIntoTpm = false, persistentVariables = false, load, shippedKeys } = request
  return secureBoot && measuresIntoTpm && !persistentVariables && load === undefined && !shippedKeys
}

function ownFirmware(
  platform: PlatformDescriptor,
  request: FirmwareRequest,
  stock: FirmwareStock,
): FirmwareChoice {
  const candidates = inOrderOfPreference(platform, request, stock.builds)
  const lacking: string[] = []
  for (const build of candidates) {
    const lack = whatLacks(platform, request, build, stock.facts)
    if (lack === undefined) return { kind: 'found', build }
    lacking.push(`${build.id} ${lack}`)
  }
  const wanted = requirements(platform, request).join(' and ')
  const detail = lacking.length > 0 ? `: ${lacking.join('; ')}` : ''
  return { kind: 'none', reason: `no firmware for ${platform.id} with ${wanted}${detail}` }
}

/** Those made for the platform. Where Secure Boot is not asked for, a build that does not enforce it comes first. */
function inOrderOfPreference(
  platform: PlatformDescriptor,
  request: FirmwareRequest,
  builds: readonly FirmwareBuild[],
): readonly FirmwareBuild[] {
  const { firmwareFeature, firmwareLoads } = platform
  const fitting = builds.filter((build) => !firmwareFeature || build.features.includes(firmwareFeature))
  const rank = (build: FirmwareBuild) =>
    Number(!request.secureBoot && build.features.includes('secure-boot')) * 10 +
    firmwareLoads.indexOf(build.load)
  return fitting.toSorted((left, right) => rank(left) - rank(right))
}

function requirements(platform: PlatformDescriptor, request: FirmwareRequest): readonly string[] {
  return [
    ...(platform.firmwareFeature ? [`feature ${platform.firmwareFeature}`] : []),
    ...(request.secureBoot ? ['feature secure-boot'] : []),
    ...(request.shippedKeys ? [`keys of ${request.shippedKeys}`] : []),
    ...(request.persistentVariables ? ['feature persistent-variables'] : []),
    ...(request.measuresIntoTpm ? ['feature measures-into-tpm'] : []),
    `load by ${request.load ?? platform.firmwareLoads.join(' or ')}`,
  ]
}

function whatLacks(
  platform: PlatformDescriptor,
  request: FirmwareRequest,
  build: FirmwareBuild,
  facts: readonly Fact[],
): string | undefined {
  if (!platform.firmwareLoads.includes(build.load)) return `loads by ${build.load}`
  if (request.load !== undefined && build.load !== request.load) return `loads by ${build.load}`
  if (request.secureBoot && !build.features.includes('secure-boot')) return 'does not enforce Secure Boot'
  if (request.shippedKeys && build.keys !== request.shippedKeys)
    return `comes with keys of ${build.keys}, not of ${request.shippedKeys}`
  if (request.persistentVariables && !build.features.includes('persistent-variables')) {
    return 'keeps no variables over a reset'
  }
  if (request.measuresIntoTpm && !build.features.includes('measures-into-tpm'))
    return 'measures nothing into a TPM'
  const smm = build.features.includes('smm') ? platform.smmFact : undefined
  if (smm !== undefined && !holds(facts, smm)) return `needs SMM, which does not work here (${smm})`
  return holds(facts, firmwareFact(build)) ? undefined : 'is not among the tools'
}

function holds(facts: readonly Fact[], id: string): boolean {
  return facts.find((fact) => fact.id === id)?.status === 'yes'
}
