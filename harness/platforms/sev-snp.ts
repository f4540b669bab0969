import { rebootBy, withSev } from './confidential.ts'
import type { PlatformDescriptor } from './descriptor.ts'
import { sevHostNeeds } from './sev.ts'

/** SEV-SNP firmware ABI, guest policy: bit 17 must be one, bit 16 allows simultaneous multithreading. */
const POLICY_RESERVED_ONE = 1 << 17
const POLICY_SMT = 1 << 16

export const sevSnp: PlatformDescriptor = {
  id: 'sev-snp',
  title: 'AMD SEV-SNP',
  basis: 'hardware',
  needs: [
    ...sevHostNeeds,
    { fact: 'cpu-sev-snp', why: 'the CPU must have SEV-SNP' },
    { fact: 'kvm-amd-sev-snp', why: 'kvm_amd must offer SEV-SNP' },
    // The kernel accounts SNP guests with the SEV-ES ones.
    { fact: 'sev-es-asids', why: 'an ASID must be left for an SNP guest', unknownIsEnough: true },
    { fact: 'qemu-sev-snp', why: 'QEMU must know sev-snp-guest' },
  ],
  wants: [],
  // From host kernel 6.11 on, pflash fails with `KVM_SET_USER_MEMORY_REGION2 ... Invalid argument`.
  firmwareLoads: ['bios'],
  firmwareFeature: 'sev-snp',
  reboot: rebootBy,
  apply: (description, host) =>
    withSev(description, sevSnp, host, {
      type: 'sev-snp-guest',
      policy: POLICY_RESERVED_ONE | POLICY_SMT,
      sharedMemory: true,
    }),
}
