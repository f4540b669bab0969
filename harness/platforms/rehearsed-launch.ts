/** One launch in two ways that know nothing of each other: predicted from its materials, and rehearsed by QEMU itself. */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'
import type { DirectBoot, MachineDescription } from '../machine/description.ts'
import { checkKernel } from '../measure/sev/kernel-file.ts'
import { kernelHashes } from '../measure/sev/kernel-hashes.ts'
import { type Rehearsal, type RehearsalContext, rehearse } from '../rehearsal/rehearse.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'
import type { LaunchOptions } from './launch-options.ts'
import type { LaunchPrediction, PredictLaunch } from './predicted-launch.ts'

export interface LaunchRequest {
  readonly platform: PlatformDescriptor
  /** Path of the combined file. */
  readonly firmware: string
  readonly vcpus: number
  readonly memoryMiB?: number
  /** Absolute paths. */
  readonly directBoot?: DirectBoot
  readonly options?: LaunchOptions
}

/** The guest's own memory is never touched; QEMU's tables in it are the same whatever its size. */
const MEMORY_MIB = 512
/** Where the processor has no memory encryption: QEMU then reads 0 there, and wants to be told the same. */
const NO_CBIT = 0

/** The guest as the platform launches it. Throws UsageError for a platform whose launch is not measured. */
export function describeLaunch(request: LaunchRequest, host: HostParameters): MachineDescription {
  const { platform, firmware, vcpus, memoryMiB = MEMORY_MIB, directBoot, options } = request
  requirePrediction(platform)
  const plain: MachineDescription = {
    ...{ name: 'rehearsal', accelerator: 'kvm', machineOptions: {}, cpu: 'host', vcpus, memoryMiB },
    firmware: { kind: 'bios', file: firmware },
    ...(directBoot && { directBoot }),
    ...{ drives: [], objects: [], smbiosStrings: [], ports: [], watchdog: false, virtioOptions: {} },
    // The caller's to replace. QEMU removes what is there before it listens: nothing may be.
    ...{ onReset: 'exit', qmpSocket: '/nonexistent/qmp', serialPipe: '/nonexistent/serial' },
  }
  return platform.apply(plain, { ...host, cbitPosition: host.cbitPosition ?? NO_CBIT }, options)
}

/** As `rehearse`. */
export function rehearseLaunch(
  context: RehearsalContext & { readonly host: HostParameters },
  request: LaunchRequest,
  file: string,
): Promise<Rehearsal> {
  return rehearse(context, describeLaunch(request, context.host), file)
}

/** What the launch should be measured as. Reads the files of the request; throws as `PredictLaunch`. */
export async function predictLaunch(request: LaunchRequest, host: HostParameters): Promise<LaunchPrediction> {
  const { platform, firmware, vcpus, directBoot, options } = request
  const predict = requirePrediction(platform)
  const { cpu } = describeLaunch(request, host)
  const { guestFeatures } = options ?? {}
  const kernel = directBoot && (await hashesOf(directBoot))
  return predict({
    ...{ firmware: await readFile(firmware), vcpus, cpu },
    ...(guestFeatures && { guestFeatures }),
    ...(kernel && { kernel }),
  })
}

async function hashesOf({ kernel, initrd, commandLine }: DirectBoot) {
  const file = await readFile(kernel)
  checkKernel(file)
  return kernelHashes({
    kernel: file,
    initrd: initrd === undefined ? undefined : await readFile(initrd),
    append: commandLine,
  })
}

function requirePrediction({ id, predictLaunch: predict }: PlatformDescriptor): PredictLaunch {
  if (predict) return predict
  throw new UsageError(`cannot rehearse ${id}: its launch is not measured`, { code: 'bad-value' })
}
