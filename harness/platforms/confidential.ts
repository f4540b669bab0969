/** What the confidential platforms' command lines share. */

import { HostError, UsageError } from '../base/errors.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'

/** Id of the confidential-guest object on SEV's and SNP's command lines. */
const SEV_ID = 'sev0'
const MEMORY_ID = 'ram1'
const MIB = 1024 * 1024

/** Bits of physical address space that memory encryption takes: 1 on every processor so far. */
const REDUCED_PHYS_BITS = 1

/** First QEMU that can reset a guest whose registers it cannot read (SEV-ES, SEV-SNP, TDX). */
const RESETS_SINCE = 11

export function rebootBy(host: HostParameters): 'reset' | 'relaunch' {
  return (host.qemuVersion?.[0] ?? 0) >= RESETS_SINCE ? 'reset' : 'relaunch'
}

/** The device cannot reach the guest's private memory: virtio must go through the DMA API's shared pages. */
const CONFIDENTIAL_VIRTIO = { 'disable-legacy': 'on', iommu_platform: 'true' } as const

/** What is equal for all: KVM, virtio through shared memory, an end instead of a reset that QEMU cannot do. */
export function confidential(
  description: MachineDescription,
  platform: PlatformDescriptor,
  host: HostParameters,
): MachineDescription {
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

export interface SevObject {
  readonly type: 'sev-guest' | 'sev-snp-guest'
  readonly policy: number
  /** Memory in a memfd, which private guest memory is taken from (SNP). */
  readonly sharedMemory: boolean
}

/** Adds the object that makes the guest an SEV, SEV-ES or SNP one. */
export function withSev(
  description: MachineDescription,
  platform: PlatformDescriptor,
  host: HostParameters,
  { type, policy, sharedMemory }: SevObject,
): MachineDescription {
  const base = confidential(description, platform, host)
  const sev: QemuObject = {
    ...{ 'qom-type': type, id: SEV_ID },
    ...{ cbitpos: requireCbit(platform, host), 'reduced-phys-bits': REDUCED_PHYS_BITS, policy },
    // Otherwise the firmware refuses a kernel that QEMU brought: nothing measured would cover it.
    ...(description.directBoot ? { 'kernel-hashes': true } : {}),
  }
  return {
    ...base,
    cpu: 'EPYC-v4',
    machineOptions: {
      ...base.machineOptions,
      'confidential-guest-support': SEV_ID,
      ...(sharedMemory ? { 'memory-backend': MEMORY_ID } : {}),
      vmport: 'off',
    },
    objects: [...base.objects, ...(sharedMemory ? [memfd(description)] : []), sev],
  }
}

function memfd({ memoryMiB }: MachineDescription): QemuObject {
  return {
    'qom-type': 'memory-backend-memfd',
    id: MEMORY_ID,
    size: memoryMiB * MIB,
    share: true,
    prealloc: false,
  }
}

/** The position differs between processors (47, 51): never a constant. */
function requireCbit(platform: PlatformDescriptor, host: HostParameters): number {
  if (host.cbitPosition !== undefined) return host.cbitPosition
  throw new HostError(
    `cannot launch ${platform.id}: the position of the C-bit is unknown, QEMU requires it`,
    {
      code: 'platform-unusable',
      hint: 'attestbed doctor shows why, in the fact cpu-cbit',
    },
  )
}
