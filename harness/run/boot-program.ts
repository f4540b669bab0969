/** What the firmware of a VM boots in place of its UKI. */
import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FALLBACK_BOOT_PATH } from '../materials/boot-disk.ts'
import { ensureSystemdBoot } from '../materials/systemd-boot.ts'
import { sha256File } from '../system/files.ts'
import type { Bench } from './bench.ts'
import type { FirstUki } from './image.ts'
import { type ShimOptions, secondStage } from './shim.ts'

export interface BootProgramRequest {
  /** Private directory of the VM. */
  readonly directory: string
  readonly shim?: ShimOptions
  readonly loader?: 'systemd-boot'
  /** What is different about the UKI, where the firmware boots it itself. */
  readonly uki?: FirstUki['change']
}

const UKI_PATH = 'EFI/Linux/attestbed.efi'
const CONFIGURATION_PATH = 'loader/loader.conf'
/** No menu: the first entry is booted at once. */
const CONFIGURATION = 'timeout 0\n'

/** Undefined: the firmware boots the UKI itself. */
export async function bootProgram(bench: Bench, request: BootProgramRequest): Promise<FirstUki | undefined> {
  if (request.shim) return secondStage(bench, request.shim)
  if (request.loader === undefined) return request.uki && { path: FALLBACK_BOOT_PATH, change: request.uki }
  const loader = await ensureSystemdBoot(bench, bench.keys)
  const configuration = join(await mkdtemp(join(request.directory, 'loader-')), 'loader.conf')
  await writeFile(configuration, CONFIGURATION)
  return {
    ...{ path: UKI_PATH, change: {} },
    beside: {
      [FALLBACK_BOOT_PATH]: loader,
      [CONFIGURATION_PATH]: { file: configuration, sha256: await sha256File(configuration) },
    },
    systemdBoot: { file: loader.file, configuration },
  }
}
