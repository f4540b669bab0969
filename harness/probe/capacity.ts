/** How many confidential guests the host can hold: the kernel's `misc` cgroup controller. */

import type { GuestSlotKind, GuestSlots } from './facts.ts'
import { type Finding, no, unknown, yes } from './finding.ts'
import type { HostTree } from './host-tree.ts'
import type { Sources } from './sources.ts'

/** cgroup v2, v1, and the two side by side; `misc.capacity` is in the root group only. */
const GROUPS = ['/sys/fs/cgroup', '/sys/fs/cgroup/misc', '/sys/fs/cgroup/unified']

/** `resource` as the kernel spells it: `sev`, `sev_es` (SEV-ES and SEV-SNP share it), `tdx`. */
export async function capacityFinding(sources: Sources, resource: string, hint: string): Promise<Finding> {
  const { host } = sources
  for (const group of GROUPS) {
    const text = await host.readText(`${group}/misc.capacity`)
    if (text === undefined) continue
    return judge(`${group}/misc.capacity`, resource, hint, {
      capacity: amount(text, resource),
      used: await usedIn(host, group, resource),
    })
  }
  return unknown('there is no misc.capacity: no cgroup controller misc')
}

const SLOT_KINDS: readonly GuestSlotKind[] = ['sev', 'sev_es', 'tdx']

/** How many more guests of each kind there is room for; a kind that the kernel does not count is absent, and so are all. */
export async function guestSlots({ host }: Sources): Promise<GuestSlots | undefined> {
  for (const group of GROUPS) {
    const text = await host.readText(`${group}/misc.capacity`)
    if (text === undefined) continue
    const left = await Promise.all(
      SLOT_KINDS.map(async (kind) => {
        const capacity = amount(text, kind)
        if (capacity === undefined) return []
        return [[kind, Math.max(0, capacity - ((await usedIn(host, group, kind)) ?? 0))] as const]
      }),
    )
    const counted = left.flat()
    return counted.length > 0 ? Object.fromEntries(counted) : undefined
  }
  return undefined
}

interface Amounts {
  readonly capacity: number | undefined
  readonly used: number | undefined
}

function judge(path: string, resource: string, hint: string, { capacity, used }: Amounts): Finding {
  if (capacity === undefined) return no(`${path} has no line ${resource}`)
  const proof = `${path}: ${resource} ${capacity}${used === undefined ? '' : `, ${used} in use`}`
  if (capacity === 0) return no(proof, hint)
  if (used !== undefined && used >= capacity)
    return no(proof, 'Every one is taken: stop a confidential guest')
  return yes(proof)
}

async function usedIn(host: HostTree, group: string, resource: string): Promise<number | undefined> {
  const text = await host.readText(`${group}/misc.current`)
  return text === undefined ? undefined : amount(text, resource)
}

function amount(text: string, resource: string): number | undefined {
  const value = new RegExp(`^${resource} (\\d+)$`, 'm').exec(text)?.[1]
  return value === undefined ? undefined : Number(value)
}
