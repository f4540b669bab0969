/** The whole of `attestbed doctor`, and the first step of every run: this host, its facts and verdicts. */

import { join } from 'node:path'
import type { HostParameters, HostReport } from '../probe/facts.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { probeHost } from '../probe/host.ts'
import { DirectoryHost } from '../probe/host-tree.ts'
import { missingPrograms } from '../probe/programs.ts'
import { realPrograms } from '../probe/real-programs.ts'
import type { Paths } from '../system/paths.ts'
import type { Tools } from '../system/tools.ts'
import { readFirmwareManifest } from './firmware.ts'
import { reportHost } from './report.ts'

export interface DiagnoseOptions {
  readonly paths: Paths
  /** The error of `openTools` where set-up has not run: a doctor must speak then, too. */
  readonly tools: Tools | Error
  /** Repeats the boot probe and the questions to programs instead of remembering them. Default false. */
  readonly fresh?: boolean
  /** Memory of the guest that must fit. Default 1024. */
  readonly guestMemoryMiB?: number
}

export interface Diagnosis {
  readonly report: HostReport
  readonly parameters: HostParameters
  /** All builds of ovmf/manifest.yaml, whether present or not. */
  readonly firmware: readonly FirmwareBuild[]
}

const GUEST_MEMORY_MIB = 1024

/**
 * Under a second when remembered, else as long as a boot probe takes. Throws UsageError 'bad-config' for a broken
 * manifest; what the host lacks is in the report.
 */
export async function diagnoseHost(options: DiagnoseOptions): Promise<Diagnosis> {
  const { paths, tools } = options
  const host = new DirectoryHost()
  const firmware = await readFirmwareManifest(paths.checkout)
  const programs =
    tools instanceof Error
      ? missingPrograms(tools)
      : await realPrograms({
          ...{ tools, host, firmware, fresh: options.fresh ?? false },
          cacheDirectory: join(paths.cache, 'probe'),
        })
  const probe = await probeHost({
    ...{ host, programs, firmware },
    directories: { cache: paths.cache, state: paths.state },
    guestMemoryMiB: options.guestMemoryMiB ?? GUEST_MEMORY_MIB,
  })
  return { report: reportHost(probe, firmware), parameters: probe.parameters, firmware }
}
