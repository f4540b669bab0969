import { withSev } from './confidential.ts'
import type { PlatformDescriptor, PlatformNeed } from './descriptor.ts'
import { kvmNeeds } from './kvm.ts'

/** SEV API specification, table 2: no debugging by the host. */
const POLICY_NO_DEBUG = 1 << 0

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
  reboot: () => 'reset',
  apply: (description, host) =>
    withSev(description, sev, host, { type: 'sev-guest', policy: POLICY_NO_DEBUG, sharedMemory: false }),
}
