/** Boots guests of the bench's own through the same rooms as `attestbed run`, outside its scenarios folder. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { platform } from '../../harness/platforms/platforms.ts'
import type { RunEventSink, ScenarioResult, VtpmKind } from '../../harness/run/events.ts'
import { execute } from '../../harness/run/execute.ts'
import type { Lab } from '../../harness/run/index.ts'
import { plan } from '../../harness/run/plan.ts'
import { defineScenario, type Tee } from '../../harness/run/scenario.ts'
import { openWorkshop, type Workshop } from '../../harness/run/workshop.ts'
import type { Scope } from '../../harness/system/scope.ts'

export interface Workbench extends Workshop {
  /** Of run directories; gone when the scope closes. */
  readonly directory: string
}

/** The figures of the issue are those of guests without KVM. */
export const BENCH_PLATFORM = 'tcg'

export async function openWorkbench(scope: Scope, signal: AbortSignal): Promise<Workbench> {
  const tell = (text: string) => void process.stderr.write(`bench: ${text}\n`)
  // Not ahead: what is measured begins with a VM's own preparation.
  const workshop = await openWorkshop({ signal, tell, scope, vtpm: false })
  return { ...workshop, directory: await temporaryDirectory(scope) }
}

/** Removed when the scope closes. */
export async function temporaryDirectory(scope: Scope): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-bench-'))
  scope.defer(directory, () => rm(directory, { recursive: true, force: true }))
  return directory
}

export type BenchLab = Lab<'end'>

export interface GuestRequest {
  /** Its own within the workbench. */
  readonly name: string
  readonly image: 'micro' | 'debian' | 'ab' | 'attester'
  readonly vtpm: VtpmKind
  /** Emulated, on the platform of all others; then without Secure Boot, as scenarios of TEEs are. Default: none. */
  readonly tee?: Tee
  /** Firmware whose variables outlast a reset; default: whichever. */
  readonly persistentVariables?: boolean
  /** What is measured. */
  readonly drive: (lab: BenchLab) => Promise<void>
  readonly emit?: RunEventSink
  /** Materials are made and stay; the first launch ends it with the event `command-lines`. */
  readonly printArgv?: boolean
}

const BUDGET_SECONDS = 900
/** As the scenarios that boot these images have it. */
const MEMORY_MIB = { micro: 512, debian: 1024, ab: 512, attester: 1024 } as const

/** Throws what went wrong: a measurement of a boot that failed is none. */
export async function driveGuest(bench: Workbench, request: GuestRequest): Promise<void> {
  const result = await executeGuest(bench, request)
  const expected = request.printArgv ? 'skip' : 'pass'
  if (result.outcome !== expected) throw new Error(`${request.name}: ${result.outcome}: ${result.reason}`)
}

async function executeGuest(bench: Workbench, request: GuestRequest): Promise<ScenarioResult> {
  const { context, host, keys, newVtpms, shelf, directory } = bench
  const { name, image, vtpm, tee, persistentVariables = false, drive } = request
  const { emit = () => {}, printArgv = false } = request
  const scenario = defineScenario({
    title: name,
    images: [image],
    vtpms: [vtpm],
    ...(tee && { tees: [tee] }),
    needs: { secureBoot: tee === undefined, persistentVariables, image: [] },
    budget: { vcpus: 1, memoryMiB: MEMORY_MIB[image], seconds: BUDGET_SECONDS },
    claims: { end: { claim: 'what was to be measured came to its end' } },
    run: async (lab) => {
      await drive(lab)
      lab.claim('end', { expected: true, got: true })
    },
  })
  const description = await shelf.describe(image)
  const axes = { platforms: [platform(BENCH_PLATFORM)] }
  const found = [{ id: `bench/${name}`, scenario }]
  const [point] = plan(found, axes, { host, describe: () => description })
  if (point?.firmware === undefined) throw new Error(`${name}: ${point?.skip?.message ?? 'nothing to boot'}`)
  const { firmware } = point
  return execute({
    point,
    runDirectory: directory,
    keep: printArgv,
    signal: context.signal ?? new AbortController().signal,
    emit,
    bench: async () => ({
      ...context,
      ...{ platform: point.platform, firmware, keys, newVtpms, image: await shelf.open(image) },
      ...{ host: host.parameters, printArgv },
    }),
  })
}
