/** The object that makes a guest an SEV, SEV-ES or SEV-SNP one. */

import { HostError } from '../base/errors.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import { type Confidential, confidential } from './confidential.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'

/** Id of the confidential-guest object on SEV's and SNP's command lines. */
const SEV_ID = 'sev0'
const MEMORY_ID = 'ram1'
const MIB = 1024 * 1024
const DEFAULT_CPU = 'EPYC-v4'

/** Bits of physical address space that memory encryption takes: 1 on every processor so far. */
const REDUCED_PHYS_BITS = 1

export interface SevObject {
  readonly type: 'sev-guest' | 'sev-snp-guest'
  readonly policy: bigint
  /** Memory in a memfd, which private guest memory is taken from (SNP). */
  readonly sharedMemory: boolean
  /** Properties of its own; undefined ones are left out. */
  readonly properties?: Readonly<Record<string, unknown>>
}

/** Adds the object. Throws HostError 'platform-unusable' where the position of the C-bit is unknown. */
export function withSev(
  description: MachineDescription,
  launch: Confidential,
  { type, policy, sharedMemory, properties = {} }: SevObject,
): MachineDescription {
  const { platform, host, options } = launch
  const base = confidential(description, launch)
  const sev: QemuObject = {
    ...{ 'qom-type': type, id: SEV_ID },
    ...{ cbitpos: requireCbit(platform, host), 'reduced-phys-bits': REDUCED_PHYS_BITS },
    policy: Number(policy),
    // Otherwise the firmware refuses a kernel that QEMU brought: nothing measured would cover it.
    ...(description.directBoot ? { 'kernel-hashes': true } : {}),
    ...given(properties),
  }
  return {
    ...base,
    cpu: options.cpu ?? DEFAULT_CPU,
    machineOptions: {
      ...base.machineOptions,
      'confidential-guest-support': SEV_ID,
      ...(sharedMemory ? { 'memory-backend': MEMORY_ID } : {}),
      vmport: 'off',
    },
    objects: [...base.objects, ...(sharedMemory ? [memfd(description)] : []), sev],
  }
}

/** Without the properties that nobody asked for. */
export function given(properties: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined))
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
