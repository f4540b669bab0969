/** A guest for a person: booted as a scenario would, its console handed over. */
import { rm } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'
import { attach, type TerminalInput, type TerminalOutput } from '../machine/console/attach.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { firmwareFor } from '../platforms/firmware.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform as platformOf } from '../platforms/platforms.ts'
import { createRunDirectory } from '../system/run-directory.ts'
import { Scope } from '../system/scope.ts'
import { ClaimBook } from '../verdict/claims.ts'
import type { Bench } from './bench.ts'
import { loadScenarios, scenarioIds } from './discover.ts'
import type { VtpmKind } from './events.ts'
import { Lab } from './lab.ts'
import type { Budget } from './lab-spec.ts'
import { shippedKeysFor, TOOLS_QEMU } from './plan.ts'
import { Processors } from './processors.ts'
import { bestPlatform, firmwareBuild, openWorkshop, type Workshop } from './workshop.ts'

export interface ShellOptions {
  readonly platform?: PlatformId
  readonly vtpm?: VtpmKind
  readonly firmware?: string
  readonly tools?: 'tree' | 'host'
  readonly input: TerminalInput
  readonly output: TerminalOutput
  readonly signal: AbortSignal
  /** Words for the person, before and after the console. */
  readonly tell: (text: string) => void
}

/** What a target asks for: a scenario's first axes, or an image with what most of it needs. */
interface Target {
  readonly image: string
  readonly vtpm: VtpmKind
  readonly secureBoot: boolean
  readonly budget: Budget
}

const IMAGE_BUDGET: Budget = { vcpus: 1, memoryMiB: 1024, seconds: 7 * 24 * 3600 }

/** `target`: the id of a scenario or an image, or the path of a description. The VM ends with the call. */
export async function openShell(target: string, options: ShellOptions): Promise<void> {
  const { signal, tell } = options
  await using scope = new Scope('shell')
  const workshop = await openWorkshop({ ...options, scope, vtpm: options.vtpm !== 'none' })
  const { image, vtpm, secureBoot, budget } = await resolveTarget(target, options)
  const description = await workshop.shelf.describe(image)
  const bench = await benchFor(workshop, options, { description, secureBoot })
  const directory = await createRunDirectory(scope, workshop.paths.runs)
  const scratch: string[] = []
  scope.defer('disks', async () => {
    for (const file of scratch) await rm(file, { force: true })
  })
  const claims = new ClaimBook({}, bench.platform.basis)
  const variant = {
    ...{ platform: bench.platform.id, vtpm, firmware: bench.firmware.id, image: description.id },
    ...{ qemu: TOOLS_QEMU, vcpus: budget.vcpus, memoryMiB: budget.memoryMiB },
  }
  const lab = new Lab<never>({
    ...{
      variant,
      basis: bench.platform.basis,
      directory,
      bench,
      budget,
      secureBoot,
      scope,
      claims,
      processors: new Processors(bench.platform),
      signal,
      scratch,
      vtpmLogs: [],
      ends: [],
      endsAt: Number.POSITIVE_INFINITY,
    },
    emit: () => {},
  })
  const { capabilities } = description
  const vm = await lab.vm('shell', {
    ...(capabilities.has('recovery-key') && { recoveryKey: 'enrolled' }),
    ...(capabilities.has('offline-sealing') && vtpm !== 'none' && { seal: 'offline' }),
  })
  tell(`${description.id} on ${variant.platform}, ${vtpm} vTPM, ${variant.firmware}; files in ${directory}`)
  if (capabilities.has('offline-sealing')) tell(`recovery key of this throw-away root: ${vm.recoveryKey}`)
  const boot = await vm.boot()
  const interrupted = new Promise<'interrupted'>((resolve) => {
    signal.addEventListener('abort', () => resolve('interrupted'), { once: true })
  })
  const shellPrompt = new RegExp(description.login.shellPrompt)
  const how = await Promise.race([attach(boot.machine.console, { ...options, shellPrompt }), interrupted])
  tell(
    how === 'left'
      ? 'left the console; the VM is stopped'
      : `the VM ended (${boot.machine.end?.kind ?? how})`,
  )
}

async function resolveTarget(target: string, { vtpm }: ShellOptions): Promise<Target> {
  const ids = await scenarioIds()
  if (!ids.includes(target))
    return { image: target, vtpm: vtpm ?? 'stateful', secureBoot: true, budget: IMAGE_BUDGET }
  const [found] = await loadScenarios([target])
  const { images, vtpms, needs, budget } = found?.scenario ?? {}
  const image = images?.[0]
  if (image === undefined || budget === undefined)
    throw new UsageError(`scenario ${target} names no image; one is required for a shell`, {
      code: 'bad-scenario',
    })
  return { image, vtpm: vtpm ?? vtpms?.[0] ?? 'stateful', secureBoot: needs?.secureBoot ?? true, budget }
}

async function benchFor(
  { context, host, keys, newVtpms, shelf }: Workshop,
  options: ShellOptions,
  { description, secureBoot }: { readonly description: ImageDescription; readonly secureBoot: boolean },
): Promise<Bench> {
  const platform = options.platform ? platformOf(options.platform) : bestPlatform(host)
  const builds = options.firmware ? [firmwareBuild(options.firmware, host)] : host.firmware
  const shippedKeys = shippedKeysFor(description, secureBoot)
  const choice = firmwareFor(platform, { secureBoot, shippedKeys }, { builds, facts: host.report.facts })
  if (choice.kind === 'none') throw new UsageError(choice.reason, { code: 'bad-value' })
  const firmware = choice.build
  return {
    ...context,
    ...{ platform, firmware, keys, newVtpms, printArgv: false, host: host.parameters },
    image: await shelf.open(description.id),
  }
}
