/** The VMSAs of a launch: the boot processor's first, then equal ones for all others. */
import { UsageError } from '../../base/errors.ts'
import { type OvmfFirmware, resetAddressOf } from '../../formats/ovmf/firmware.ts'
import type { CpuSignature } from './cpu-models.ts'
import { BOOT_ADDRESS, encodeSaveArea, saveArea, type VmmFlavour } from './vmsa.ts'

/** KVM's own limit on x86 (KVM_MAX_VCPUS). */
export const MAX_VCPUS = 4096

export interface Processors {
  /** 1 to MAX_VCPUS. */
  readonly vcpus: number
  readonly cpu: CpuSignature
  readonly guestFeatures: bigint
  readonly vmm: VmmFlavour
}

/**
 * One page a processor, in measured order; pages of equal processors are the same object. Throws UsageError for a
 * count that cannot be, FormatError where there are several and the firmware does not say where they start.
 */
export function savedAreaPages(
  firmware: Pick<OvmfFirmware, 'resetAddress'>,
  { vcpus, cpu, guestFeatures, vmm }: Processors,
): readonly Buffer[] {
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS)
    throw new UsageError(`cannot launch with ${vcpus} vCPUs: 1 to ${MAX_VCPUS} are possible`, {
      code: 'bad-value',
    })
  const page = (eip: number) => encodeSaveArea(saveArea({ eip, cpu, guestFeatures, vmm }))
  const boot = page(BOOT_ADDRESS)
  if (vcpus === 1) return [boot]
  const other = page(resetAddressOf(firmware))
  return [boot, ...Array.from({ length: vcpus - 1 }, () => other)]
}
