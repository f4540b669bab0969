/** Facts of what a guest consumes: memory, disk, processors, namespaces for the sandbox. */

import { HostError } from '../base/errors.ts'
import { type FactProbe, type Finding, no, unknown, yes } from './finding.ts'
import type { Sources } from './sources.ts'
import { lookAtSandbox } from './tools.ts'

const MIB = 1024 * 1024
/** QEMU itself, its translation cache, swtpm and the harness. */
const OVERHEAD_MIB = 512
/** Tools tree, packages, images. */
const CACHE_MIB = 3072
/** Overlays and transcripts of a few runs. */
const STATE_MIB = 1024

export const resourceProbes: readonly FactProbe[] = [
  { id: 'memory', look: lookAtMemory },
  { id: 'disk-cache', look: (sources) => lookAtDisk(sources, sources.spec.directories.cache, CACHE_MIB) },
  { id: 'disk-state', look: (sources) => lookAtDisk(sources, sources.spec.directories.state, STATE_MIB) },
  { id: 'cores', look: lookAtCores },
  { id: 'user-namespaces', look: lookAtNamespaces },
  { id: 'vhost-vsock', look: lookAtVsock },
]

/** MiB that programs may still take; undefined where /proc/meminfo does not say. */
export async function freeMemoryMiB(sources: Sources): Promise<number | undefined> {
  const memory = await lookForMemory(sources)
  return memory && Math.min(memory.available, memory.limit ?? memory.available)
}

async function lookForMemory(sources: Sources) {
  const text = await sources.host.readText('/proc/meminfo')
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text ?? '')?.[1]
  if (kib === undefined) return undefined
  return { available: Math.floor(Number(kib) / 1024), limit: await cgroupHeadroomMiB(sources) }
}

async function lookAtMemory(sources: Sources): Promise<Finding> {
  const memory = await lookForMemory(sources)
  if (memory === undefined) return unknown('/proc/meminfo has no line MemAvailable')
  const { available, limit } = memory
  const free = Math.min(available, limit ?? available)
  const needed = sources.spec.guestMemoryMiB + OVERHEAD_MIB
  const bound =
    limit !== undefined && limit < available ? `the cgroup's memory limit leaves` : 'MemAvailable is'
  const proof = `${bound} ${free} MiB, a guest of ${sources.spec.guestMemoryMiB} MiB needs ${needed} MiB`
  return free >= needed
    ? yes(proof)
    : no(proof, 'Stop other programs, or give the machine or container more memory')
}

const MEMORY_GROUPS = [
  { path: '/sys/fs/cgroup', limit: 'memory.max', usage: 'memory.current', files: 'inactive_file' },
  {
    ...{ path: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
    ...{ usage: 'memory.usage_in_bytes', files: 'total_inactive_file' },
  },
] as const

/**
 * In a container /proc/meminfo is the host's: what counts is the limit of the group, less what it uses. Files that were
 * read and are not looked at any more count as used, and give way.
 */
async function cgroupHeadroomMiB({ host }: Sources): Promise<number | undefined> {
  for (const { path, limit, usage, files } of MEMORY_GROUPS) {
    const most = Number(await host.readText(`${path}/${limit}`))
    const used = Number(await host.readText(`${path}/${usage}`))
    // `max` is no number; a missing file is NaN too.
    if (!Number.isFinite(most) || !Number.isFinite(used)) continue
    const stat = (await host.readText(`${path}/memory.stat`)) ?? ''
    const line = stat.split('\n').find((each) => each.startsWith(`${files} `)) ?? ''
    const givesWay = Number(line.slice(files.length)) || 0
    return Math.floor((most - used + Math.min(givesWay, used)) / MIB)
  }
  return undefined
}

async function lookAtDisk(sources: Sources, directory: string, neededMiB: number): Promise<Finding> {
  const free = Math.floor((await sources.host.freeBytes(directory)) / MIB)
  const proof = `${free} MiB free for ${directory}, ${neededMiB} MiB needed`
  return free >= neededMiB
    ? yes(proof)
    : no(proof, 'Free some space, or move it: ATTESTBED_CACHE, XDG_STATE_HOME')
}

async function lookAtCores(sources: Sources): Promise<Finding> {
  const status = await sources.host.readText('/proc/self/status')
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(status ?? '')?.[1]
  if (list === undefined) return unknown('/proc/self/status has no line Cpus_allowed_list')
  const count = countList(list)
  return count > 0
    ? yes(`${count} may be used (Cpus_allowed_list ${list})`)
    : unknown(`Cpus_allowed_list '${list}'`)
}

/** `0-3,8` is five processors. */
function countList(list: string): number {
  return list.split(',').reduce((sum, range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number)
    return sum + (last - first + 1)
  }, 0)
}

const NAMESPACE_SETTINGS = [
  {
    path: '/proc/sys/kernel/unprivileged_userns_clone',
    forbids: '0',
    command: 'kernel.unprivileged_userns_clone=1',
  },
  {
    path: '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
    forbids: '1',
    command: 'kernel.apparmor_restrict_unprivileged_userns=0',
  },
  { path: '/proc/sys/user/max_user_namespaces', forbids: '0', command: 'user.max_user_namespaces=15000' },
] as const

async function lookAtNamespaces(sources: Sources): Promise<Finding> {
  try {
    return await lookAtSandbox(sources)
  } catch (error) {
    if (error instanceof HostError && error.code === 'no-user-namespaces')
      return no(error.message, error.hint)
  }
  if (sources.host.user.uid === 0) return unknown('no program could be tried in the sandbox')
  for (const setting of NAMESPACE_SETTINGS) {
    const value = (await sources.host.readText(setting.path))?.trim()
    if (value === setting.forbids)
      return no(`${setting.path}: ${value}`, `As root: sysctl -w ${setting.command}`)
  }
  return unknown('no setting forbids them, but no program could be tried in the sandbox')
}

/** Informational: vsock channels work without it too, through a vhost-user daemon. */
async function lookAtVsock(sources: Sources): Promise<Finding> {
  const attempt = await sources.host.tryOpen('/dev/vhost-vsock')
  const proof = attempt === 'ok' ? '/dev/vhost-vsock opened' : `opening /dev/vhost-vsock: ${attempt}`
  return attempt === 'ok' ? yes(proof) : no(proof, attempt === 'ENOENT' ? 'modprobe vhost_vsock' : '')
}
