/** Facts of KVM: whether it opens, and whether it can really run the firmware. */

import { isAmd } from './cpu.ts'
import { type FactProbe, type Finding, no, unknown, yes } from './finding.ts'
import type { BootKind } from './programs.ts'
import type { Sources } from './sources.ts'

const DEVICE = '/dev/kvm'

export const kvmProbes: readonly FactProbe[] = [
  { id: 'kvm-device', look: lookAtDevice },
  { id: 'kvm-firmware', look: (sources) => lookAtBoot(sources, 'plain') },
  { id: 'kvm-firmware-smm', look: (sources) => lookAtBoot(sources, 'smm') },
]

async function lookAtDevice(sources: Sources): Promise<Finding> {
  const attempt = await sources.host.tryOpen(DEVICE)
  if (attempt === 'ok') return yes(`${DEVICE} opened for reading and writing${await loadedModule(sources)}`)
  const proof = `opening ${DEVICE}: ${attempt}`
  if (attempt === 'ENOENT') return no(proof, await missingHint(sources))
  if (attempt === 'EACCES') return no(proof, await groupHint(sources, DEVICE))
  if (attempt === 'EPERM')
    return no(proof, `The container forbids the device: start it with --device ${DEVICE}`)
  return no(proof)
}

/** Which KVM it is matters: a paravirtual one opens, and runs no firmware. */
async function loadedModule(sources: Sources): Promise<string> {
  for (const module of ['kvm_amd', 'kvm_intel', 'kvm_pvm']) {
    if (await sources.host.stat(`/sys/module/${module}`)) return ` (${module})`
  }
  return ''
}

async function missingHint(sources: Sources): Promise<string> {
  const { host } = sources
  if ((await host.stat('/run/.containerenv')) || (await host.stat('/.dockerenv'))) {
    return `Start the container with --device ${DEVICE}`
  }
  const cpu = await sources.cpu()
  if (cpu.flags.has('svm') || cpu.flags.has('vmx'))
    return `Load KVM: modprobe ${isAmd(cpu) ? 'kvm_amd' : 'kvm_intel'}`
  return cpu.flags.has('hypervisor')
    ? 'This machine is virtual: enable nested virtualisation on its host'
    : 'Enable virtualisation (AMD SVM, Intel VT-x) in the firmware setup'
}

/** Who may open `device`, and the command that lets this user in. */
export async function groupHint(sources: Sources, device: string): Promise<string> {
  const { host } = sources
  const gid = (await host.stat(device))?.gid
  if (gid === undefined || gid === 0)
    return `Only root may open ${device}: run as root, or add a udev rule for a group`
  const line = (await host.readText('/etc/group'))
    ?.split('\n')
    .find((text) => text.split(':')[2] === String(gid))
  const [group = String(gid), , , members = ''] = line?.split(':') ?? []
  if (members.split(',').includes(host.user.name) && !host.user.groups.includes(gid)) {
    return `${host.user.name} is in the group ${group} since the last login: log in again`
  }
  return `Join the group ${group}: usermod -aG ${group} ${host.user.name} (as root), then log in again`
}

async function lookAtBoot(sources: Sources, kind: BootKind): Promise<Finding> {
  const attempt = await sources.host.tryOpen(DEVICE)
  if (attempt !== 'ok') return no(`${DEVICE} cannot be opened: ${attempt}`)
  const outcome = await sources.programs.bootKvm(kind)
  switch (outcome.kind) {
    case 'booted':
      return yes(`'${outcome.line}' after ${outcome.milliseconds} ms`)
    case 'internal-error':
      return no(outcome.detail, await internalErrorHint(sources))
    case 'ended':
      return no(`QEMU ended: ${outcome.detail}`)
    case 'not-tried':
      return no(outcome.detail)
    case 'silent':
      return unknown(
        `${outcome.detail} within ${outcome.milliseconds} ms`,
        'Try again: attestbed doctor --fresh',
      )
  }
}

async function internalErrorHint(sources: Sources): Promise<string> {
  const cpu = await sources.cpu()
  if (!cpu.flags.has('hypervisor')) return ''
  return 'KVM inside this virtual machine cannot run firmware: use its host, or nested virtualisation in hardware'
}
