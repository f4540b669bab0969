import type { PlatformDescriptor, PlatformNeed } from './descriptor.ts'
import { refuseOthers } from './launch-options.ts'

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
  launchOptions: [],
  reboot: () => 'reset',
  apply: (description, _host, options = {}) => {
    refuseOthers('kvm', options, [])
    return { ...description, accelerator: 'kvm', cpu: 'host' }
  },
}
