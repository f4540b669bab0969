/** `attestbed repro`: what a bundle says, compared with what there is here; the run; and whether it fails the same way. */

import { sha256Hex } from '../base/digest.ts'
import { HostError, UsageError } from '../base/errors.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform } from '../platforms/platforms.ts'
import { loadScenarios, scenarioIds } from '../run/discover.ts'
import type { RunEvent, RunEventSink, RunResult, ScenarioResult, Variant } from '../run/events.ts'
import type { RunRequest } from '../run/program.ts'
import { bestPlatform, firmwareBuild, type PlanningOffice } from '../run/workshop.ts'
import { chooseMaterials, type Unlike } from './chosen-materials.ts'
import { scenarioSource, scrubbedSignature } from './make.ts'
import type { Manifest } from './manifest.ts'
import type { OpenedBundle } from './read.ts'
import { type Comparison, compareSignatures, type FailureSignature, isFailure } from './signature.ts'
import type { Version } from './versions.ts'

export interface ReproPlan {
  readonly manifest: Manifest
  readonly title: string
  /** What is run here: the variant, or what takes the place of what this host lacks. */
  readonly variant: Variant
  readonly request: Pick<RunRequest, 'patterns' | 'sampling' | 'swaps'>
  /** Lines about what is the same here and what is not. */
  readonly words: readonly string[]
  /** Claims that this host cannot say anything about, each with the reason. */
  readonly cannot: readonly string[]
  /** Roles of materials that differ while those here are used; nobody asked for it. */
  readonly unlike: readonly string[]
}

/**
 * Throws UsageError `bad-value` for a bundle of no failure, and `unknown-scenario`, `unknown-image`, `bad-value` where this
 * checkout lacks what the bundle is about. Of its words, only those are used that name something of this checkout; no path in it is followed.
 */
export async function planRepro(
  bundle: OpenedBundle,
  office: PlanningOffice,
  versions: readonly Version[] = [],
): Promise<ReproPlan> {
  const { manifest } = bundle
  requireFailure(manifest)
  const { scenario } = await theScenario(manifest)
  const source = await scenarioSource(office.paths.checkout, manifest.scenario.id)
  const isSame = source !== undefined && sha256Hex(source) === manifest.scenario.sourceSha256
  const place = choosePlatform(manifest, office, scenario.tees ?? [])
  const qemu = chooseQemu(manifest)
  const firmware = versions.find((version) => version.firmware)?.firmware ?? manifest.variant.firmware
  const build = firmwareBuild(firmware, office.host)
  await office.shelf.describe(manifest.variant.image)
  const image = await office.shelf.open(manifest.variant.image)
  const chosen = await chooseMaterials(bundle, { tools: office.tools, build, image: image.materials })
  const variant: Variant = {
    ...manifest.variant,
    ...{ platform: place.id, firmware },
    ...(place.emulatedOn && { emulatedOn: place.emulatedOn }),
    qemu: versions.find((version) => version.qemu)?.qemu ?? qemu.id,
  }
  const swaps = Object.assign({}, chosen.swaps, ...versions.map((version) => version.swaps ?? {}))
  // A firmware that is named is not one of the bundle's.
  if (versions.some((version) => version.firmware)) swaps.firmware = undefined
  const replaced = new Set(Object.keys(Object.assign({}, ...versions.map((version) => version.swaps ?? {}))))
  if (versions.some((version) => version.firmware)) replaced.add('firmware')
  const unlike = [
    ...chosen.unlike.filter(({ role }) => !replaced.has(role)),
    ...unlikeTools(manifest, office, variant),
  ]
  return {
    ...{ manifest, title: scenario.title, variant, unlike: unlike.map(({ role }) => role) },
    request: {
      patterns: [manifest.scenario.id],
      ...(manifest.sampling && { sampling: manifest.sampling }),
      swaps,
    },
    words: [
      `scenario: ${isSame ? 'the same source' : 'its source differs here; that of this checkout is run'}`,
      ...chosen.words,
      ...qemu.words,
      ...toolsWords(manifest, office),
      ...versions.map(({ title }) => `instead: ${title}`),
    ],
    cannot: [...place.cannot, ...unlike.map(({ words }) => words)],
  }
}

/** Of what passed or was skipped there is nothing that could be the same here. */
function requireFailure({ scenario, signature }: Manifest): void {
  if (isFailure(signature)) return
  throw new UsageError(
    `the bundle is of a ${signature.outcome} of ${scenario.id}; one of a fail or an error is required`,
    { code: 'bad-value', hint: 'attestbed repro FILE --list says what is in it' },
  )
}

async function theScenario({ scenario: { id, sourceSha256 } }: Manifest) {
  const ids = await scenarioIds()
  if (!ids.includes(id))
    throw new UsageError(`this checkout has no scenario ${id}, which the bundle is about`, {
      code: 'unknown-scenario',
      ...(sourceSha256 !== undefined && {
        hint: 'the bundle carries its source as text, which is never run: attestbed repro FILE --extract DIRECTORY',
      }),
    })
  const [found] = await loadScenarios([id])
  if (found) return found
  throw new UsageError(`this checkout has no scenario ${id}`, { code: 'unknown-scenario' })
}

interface Place {
  readonly id: PlatformId
  /** The TEE is emulated there. */
  readonly emulatedOn?: PlatformId
  readonly cannot: readonly string[]
}

function choosePlatform(
  { variant, claims }: Manifest,
  { host }: Pick<PlanningOffice, 'host'>,
  tees: readonly string[],
): Place {
  const theirs = platform(variant.platform)
  const { emulatedOn } = variant
  if (emulatedOn !== undefined) return { id: theirs.id, ...chooseBase(emulatedOn, host) }
  const verdict = host.report.platforms[theirs.id]
  if (verdict?.usable) return { id: theirs.id, cannot: [] }
  const best = bestPlatform(host)
  const place = tees.includes(theirs.id)
    ? { id: theirs.id, emulatedOn: baseOn(best) }
    : { id: best.id, emulatedOn: undefined }
  const basis = place.emulatedOn === undefined ? best.basis : 'emulated'
  const where = place.emulatedOn === undefined ? best.id : `${theirs.id} emulated on ${place.emulatedOn}`
  const why = `it runs on ${where}, since ${theirs.id} cannot be used here: ${verdict?.reason ?? 'not probed'}`
  const lost = claims.filter((claim) => claim.basis === theirs.basis && claim.basis !== basis)
  return {
    id: place.id,
    ...(place.emulatedOn && { emulatedOn: place.emulatedOn }),
    cannot: [why, ...lost.map((claim) => `claim ${claim.id} rested on ${claim.basis} evidence`)],
  }
}

/** An emulated TEE is emulated here, too, also on a host that has it: its hardware would be another platform. */
function chooseBase(theirs: PlatformId, host: PlanningOffice['host']) {
  const verdict = host.report.platforms[theirs]
  if (verdict?.usable) return { emulatedOn: theirs, cannot: [] }
  const on = baseOn(bestPlatform(host))
  const why = `it is emulated on ${on}, since ${theirs} cannot be used here: ${verdict?.reason ?? 'not probed'}`
  return { emulatedOn: on, cannot: [why] } as const
}

/** A platform that proves something itself emulates no other. */
function baseOn({ id, basis }: PlatformDescriptor): PlatformId {
  return basis === 'emulated' ? id : 'tcg'
}

/** A path in a bundle is not one that is run here. */
function chooseQemu({ variant: { qemu } }: Manifest): {
  readonly id: string
  readonly words: readonly string[]
} {
  if (qemu === 'tools' || qemu === 'host') return { id: qemu, words: [] }
  return {
    id: 'tools',
    words: [`QEMU: theirs was ${qemu}; that of the tools is used (--with qemu=FILE names another)`],
  }
}

function toolsWords({ tools }: Manifest, office: PlanningOffice): readonly string[] {
  if (tools === undefined) return ['tools: the bundle does not say which']
  return tools.digest === office.tools.digest
    ? ['tools: the same versions']
    : ['tools: other versions than there; tools.json of the bundle names theirs']
}

function unlikeTools(
  { tools, variant: { qemu } }: Manifest,
  office: PlanningOffice,
  here: Variant,
): readonly Unlike[] {
  if (here.qemu !== 'tools' || (qemu === 'tools' && tools?.digest === office.tools.digest)) return []
  if (qemu === 'tools' && tools === undefined) return []
  return [{ role: 'tools', words: 'tools: differ, QEMU among them; those here are used' }]
}

export interface Reproduction {
  readonly comparison: Comparison
  readonly here: FailureSignature
  readonly result: ScenarioResult
}

export type RunScenarios = (request: RunRequest) => Promise<RunResult>

/** Runs the scenario as planned. Throws what prevents the run as a whole. */
export async function reproduce(
  { manifest, variant, request }: ReproPlan,
  rest: Omit<RunRequest, 'patterns' | 'sampling' | 'swaps' | 'keep'> & { readonly keep?: boolean },
  runScenarios: RunScenarios,
): Promise<Reproduction> {
  const tail = new ConsoleTail()
  const onEvent: RunEventSink = (event) => {
    tail.event(event)
    rest.onEvent(event)
  }
  const { results } = await runScenarios({
    ...{ keep: false, ...rest, ...request, onEvent },
    ...{ platforms: [variant.platform], vtpms: [variant.vtpm], firmware: [variant.firmware] },
    ...(variant.emulatedOn && { emulatedOn: variant.emulatedOn }),
    ...{ images: [variant.image], qemus: [variant.qemu] },
    ...{ vcpus: [variant.vcpus], memoryMiB: [variant.memoryMiB] },
  })
  const [result] = results
  if (result === undefined || results.length !== 1)
    throw new HostError(
      `${manifest.scenario.id} has ${results.length} variants here like the bundle's, one is required`,
      { code: 'scenario-lacks' },
    )
  requirePlanned(result.variant, variant)
  const here = scrubbedSignature(result, tail.text)
  const comparison = compareSignatures(theirSignature(manifest), here, {
    ...{ there: manifest.claims, here: result.claims },
    stopsEarly: rest.onFailure !== undefined,
  })
  return { comparison, here, result }
}

/** What ran on another platform is no word about this one, however alike it fails. */
function requirePlanned(ran: Variant, planned: Variant): void {
  if (ran.platform === planned.platform && ran.emulatedOn === planned.emulatedOn) return
  throw new HostError(`it ran on ${platformWords(ran)}, ${platformWords(planned)} is required`, {
    code: 'scenario-lacks',
  })
}

function platformWords({ platform: id, emulatedOn }: Variant): string {
  return emulatedOn === undefined ? id : `${id} emulated on ${emulatedOn}`
}

function theirSignature({ signature: { errorCode, ...rest } }: Manifest): FailureSignature {
  return { ...rest, ...(errorCode !== undefined && { errorCode }) }
}

const KEPT_LINES = 40

/** The last lines that a console of the run printed. */
class ConsoleTail {
  readonly #lines: string[] = []

  event(event: RunEvent): void {
    if (event.type !== 'console-line') return
    this.#lines.push(event.line)
    if (this.#lines.length > KEPT_LINES) this.#lines.shift()
  }

  get text(): string {
    return this.#lines.join('\n')
  }
}
