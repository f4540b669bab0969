/** What makes a VM one of a TEE: its launch, and what an emulated one needs beside it. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { parseOvmf } from '../formats/ovmf/firmware.ts'
import type { FirmwareLoad, MemoryImage } from '../machine/description.ts'
import { encodeHashesTable, kernelHashes } from '../measure/sev/kernel-hashes.ts'
import type { LaunchOptions } from '../platforms/launch-options.ts'
import type { LaunchRequest } from '../platforms/rehearsed-launch.ts'
import type { VmSpec } from './lab-spec.ts'
import type { ProcessorKind } from './processors.ts'
import { VmTee } from './tee.ts'

/** What of a VM its launch is made of, as it is at the moment. */
export interface LaunchedVm {
  readonly spec: VmSpec
  readonly firmware: FirmwareLoad
  /** A kernel that QEMU brings itself. */
  readonly kernel: string | undefined
  readonly launch: LaunchOptions | undefined
}

/** Undefined where the VM runs on no TEE. */
export async function openTee(
  spec: VmSpec,
  { kind, vm }: { readonly kind: ProcessorKind | undefined; readonly vm: () => LaunchedVm },
): Promise<VmTee | undefined> {
  const { platform } = spec.bench
  if (platform.predictLaunch === undefined) return undefined
  const request = () => launchRequest(vm())
  const processor = await spec.processors.open(kind)
  return new VmTee(spec, request, processor && { processor, request, directory: spec.directory })
}

/** Of the TEE itself, also where it is emulated. */
function launchRequest({ spec, firmware, kernel, launch }: LaunchedVm): LaunchRequest {
  const { bench, budget } = spec
  if (firmware.kind !== 'bios')
    throw new UsageError(`cannot launch ${bench.platform.id}: its firmware must be one combined file`, {
      code: 'bad-scenario',
    })
  return {
    platform: bench.platform.emulated?.tee ?? bench.platform,
    ...{ firmware: firmware.file, vcpus: budget.vcpus, memoryMiB: budget.memoryMiB },
    ...(kernel !== undefined && { directBoot: { kernel } }),
    ...(launch && { options: launch }),
  }
}

/**
 * The hashes of the kernel where the firmware looks for them. QEMU puts them there for a confidential guest; for the
 * one that stands in for it we do, so that the same firmware refuses the same kernels.
 */
export async function kernelHashesImage(
  { spec, firmware, kernel }: Pick<LaunchedVm, 'spec' | 'firmware' | 'kernel'>,
  directory: string,
): Promise<readonly MemoryImage[]> {
  const { emulated } = spec.bench.platform
  if (emulated === undefined || kernel === undefined || firmware.kind !== 'bios') return []
  const { hashesTable } = parseOvmf(await readFile(firmware.file))
  if (hashesTable === undefined) return []
  const file = join(directory, 'kernel-hashes.bin')
  await writeFile(file, encodeHashesTable(kernelHashes({ kernel: await readFile(kernel) })))
  return [{ file, address: hashesTable.gpa }]
}
