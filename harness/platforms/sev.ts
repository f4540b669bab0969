import type { PlatformDescriptor, PlatformNeed } from './descriptor.ts'
import { kvmNeeds } from './kvm.ts'
import { sevPrediction } from './predicted-launch.ts'
import { withSev } from './sev-object.ts'
import { sevPolicy } from './sev-policy.ts'

/** What SEV, SEV-ES and SEV-SNP all need of an AMD host. */
export const sevHostNeeds: readonly PlatformNeed[] = [
  { fact: 'cpu-sev', why: 'the CPU must have SEV' },
  ...kvmNeeds,
  { fact: 'kvm-amd-sev', why: 'kvm_amd must offer SEV' },
  { fact: 'sev-device', why: 'the security processor must be open to this user' },
  { fact: 'cpu-cbit', why: 'the position of the C-bit must be known' },
]

export const sev: PlatformDescriptor = {
  id: 'sev',
  title: 'AMD SEV',
  basis: 'hardware',
  needs: [
    ...sevHostNeeds,
    { fact: 'sev-asids', why: 'an ASID must be left for an SEV guest', unknownIsEnough: true },
    { fact: 'qemu-sev', why: 'QEMU must know sev-guest' },
  ],
  wants: [],
  firmwareLoads: ['bios', 'pflash'],
  firmwareFeature: 'sev',
  smmFact: 'kvm-firmware-smm',
  predictLaunch: sevPrediction,
  guestSlot: 'sev',
  launchOptions: ['cpu', 'policy'],
  reboot: () => 'reset',
  apply: (description, host, options = {}) =>
    withSev(
      description,
      { platform: sev, host, options },
      { type: 'sev-guest', policy: sevPolicy(options, 0n), sharedMemory: false },
    ),
}
