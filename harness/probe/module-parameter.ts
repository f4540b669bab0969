/** Boolean parameters of kernel modules, as /sys shows them once the module has decided. */

import { type Finding, no, unknown, yes } from './finding.ts'
import type { CpuInfo, Sources } from './sources.ts'

export interface ModuleParameter {
  readonly module: string
  readonly parameter: string
  /** Given where the CPU could do it and the parameter is off. */
  readonly hint: string
  readonly forCpu: (cpu: CpuInfo) => boolean
}

export async function lookAtParameter(sources: Sources, wanted: ModuleParameter): Promise<Finding> {
  const path = `/sys/module/${wanted.module}/parameters/${wanted.parameter}`
  const hint = wanted.forCpu(await sources.cpu()) ? wanted.hint : ''
  const text = (await sources.host.readText(path))?.trim()
  if (text === undefined) {
    const loaded = await sources.host.stat(`/sys/module/${wanted.module}`)
    return no(
      loaded ? `${path} does not exist: this kernel is too old` : `${wanted.module} is not loaded`,
      hint,
    )
  }
  if (text === 'Y' || text === '1') return yes(`${path}: ${text}`)
  if (text === 'N' || text === '0') return no(`${path}: ${text}`, hint)
  return unknown(`${path} says '${text}', it must be Y or N`)
}
