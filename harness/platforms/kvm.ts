import type { PlatformDescriptor, PlatformNeed } from './descriptor.ts'

/** What every platform on KVM needs. */
export const kvmNeeds: readonly PlatformNeed[] = [
  { fact: 'kvm-device', why: '/dev/kvm must open' },
  { fact: 'qemu', why: 'QEMU must start' },
  { fact: 'qemu-kvm', why: 'QEMU must be built with KVM' },
  { fact: 'kvm-firmware', why: 'KVM must run the firmware' },
]

export const kvm: PlatformDescriptor = {
  id: 'kvm',
  title: 'KVM, not confidential',
  basis: 'emulated',
  needs: kvmNeeds,
  wants: [],
  firmwareLoads: ['pflash', 'bios'],
  smmFact: 'kvm-firmware-smm',
  reboot: () => 'reset',
  apply: (description) => ({ ...description, accelerator: 'kvm', cpu: 'host' }),
}
