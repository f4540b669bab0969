/** Everything that is known of a host: all facts at once, each on its own. */

import { guestSlots } from './capacity.ts'
import { cbitPosition, cpuProbes } from './cpu.ts'
import type { HostParameters, HostProbe } from './facts.ts'
import { type FactProbe, settle } from './finding.ts'
import { kvmProbes } from './kvm.ts'
import { freeMemoryMiB, resourceProbes } from './resources.ts'
import { sevProbes } from './sev.ts'
import { Sources, type SourcesSpec } from './sources.ts'
import { quoteSocket, tdxProbes } from './tdx.ts'
import { firmwareProbes, toolProbes } from './tools.ts'

/** Never rejects because of the host: what cannot be found out is a fact of status `unknown`. */
export async function probeHost(spec: SourcesSpec): Promise<HostProbe> {
  const sources = new Sources(spec)
  const probes: readonly FactProbe[] = [
    ...cpuProbes,
    ...kvmProbes,
    ...sevProbes,
    ...tdxProbes,
    ...toolProbes,
    ...firmwareProbes(spec.firmware),
    ...resourceProbes,
  ]
  const [facts, parameters] = await Promise.all([
    Promise.all(probes.map((probe) => settle(probe, sources))),
    readParameters(sources),
  ])
  return { facts, parameters }
}

/** A value that cannot be read is absent; the fact of the same thing says why. */
async function readParameters(sources: Sources): Promise<HostParameters> {
  const [cbit, quote, qemu, memory, slots] = await Promise.allSettled([
    cbitPosition(sources),
    quoteSocket(sources),
    sources.qemu(),
    freeMemoryMiB(sources),
    guestSlots(sources),
  ])
  const position = cbit.status === 'fulfilled' ? cbit.value.position : undefined
  const socket = quote.status === 'fulfilled' ? quote.value.socket : undefined
  const version = qemu.status === 'fulfilled' ? qemu.value.version : undefined
  const free = memory.status === 'fulfilled' ? memory.value : undefined
  return {
    ...(free === undefined ? {} : { freeMemoryMiB: free }),
    ...(slots.status === 'fulfilled' && slots.value ? { guestSlots: slots.value } : {}),
    ...(position === undefined ? {} : { cbitPosition: position }),
    ...(socket === undefined ? {} : { quoteSocket: socket }),
    ...(version === undefined ? {} : { qemuVersion: [version[0], version[1]] }),
  }
}
