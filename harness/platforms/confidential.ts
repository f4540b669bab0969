/** What the confidential platforms' command lines share. */

import { HostError, UsageError } from '../base/errors.ts'
import type { MachineDescription } from '../machine/description.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'
import { type LaunchOptions, refuseOthers } from './launch-options.ts'

/** First QEMU that can reset a guest whose registers it cannot read (SEV-ES, SEV-SNP, TDX). */
const RESETS_SINCE = 11

export function rebootBy(host: HostParameters): 'reset' | 'relaunch' {
  return (host.qemuVersion?.[0] ?? 0) >= RESETS_SINCE ? 'reset' : 'relaunch'
}

/** The device cannot reach the guest's private memory: virtio must go through the DMA API's shared pages. */
const CONFIDENTIAL_VIRTIO = { 'disable-legacy': 'on', iommu_platform: 'true' } as const

export interface Confidential {
  readonly platform: PlatformDescriptor
  readonly host: HostParameters
  readonly options: LaunchOptions
}

/** What is equal for all: KVM, virtio through shared memory, an end instead of a reset that QEMU cannot do. */
export function confidential(
  description: MachineDescription,
  { platform, host, options }: Confidential,
): MachineDescription {
  refuseOthers(platform.id, options, platform.launchOptions)
  requireQemu(platform, host)
  if (!platform.firmwareLoads.includes(description.firmware.kind)) {
    throw new UsageError(
      `cannot launch ${platform.id} with firmware by ${description.firmware.kind}: ` +
        `it takes ${platform.firmwareLoads.join(' or ')}`,
      { code: 'bad-value', hint: 'Choose a build of ovmf/manifest.yaml that the platform can load' },
    )
  }
  return {
    ...description,
    accelerator: 'kvm',
    virtioOptions: { ...description.virtioOptions, ...CONFIDENTIAL_VIRTIO },
    onReset: platform.reboot(host) === 'relaunch' ? 'exit' : description.onReset,
  }
}

/** An unknown version is left to QEMU itself: it says what it does not know. */
function requireQemu(platform: PlatformDescriptor, { qemuVersion }: HostParameters): void {
  const { qemuSince } = platform
  if (qemuSince === undefined || qemuVersion === undefined) return
  const [major, minor] = qemuVersion
  if (major > qemuSince[0] || (major === qemuSince[0] && minor >= qemuSince[1])) return
  throw new HostError(
    `cannot launch ${platform.id}: QEMU is ${major}.${minor}, ${qemuSince.join('.')} or newer is required`,
    { code: 'program-too-old', hint: 'scripts/setup --tools=tree brings a newer one' },
  )
}
