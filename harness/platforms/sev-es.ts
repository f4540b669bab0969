import { rebootBy, withSev } from './confidential.ts'
import type { PlatformDescriptor } from './descriptor.ts'
import { sevHostNeeds } from './sev.ts'

/** SEV API specification, table 2: no debugging by the host, and encrypted register state. */
const POLICY_NO_DEBUG = 1 << 0
const POLICY_ES = 1 << 2

export const sevEs: PlatformDescriptor = {
  id: 'sev-es',
  title: 'AMD SEV-ES',
  basis: 'hardware',
  needs: [
    ...sevHostNeeds,
    { fact: 'cpu-sev-es', why: 'the CPU must have SEV-ES' },
    { fact: 'kvm-amd-sev-es', why: 'kvm_amd must offer SEV-ES' },
    { fact: 'sev-es-asids', why: 'an ASID must be left for an SEV-ES guest', unknownIsEnough: true },
    { fact: 'qemu-sev', why: 'QEMU must know sev-guest' },
  ],
  wants: [],
  firmwareLoads: ['bios'],
  firmwareFeature: 'sev-es',
  reboot: rebootBy,
  apply: (description, host) =>
    withSev(description, sevEs, host, {
      type: 'sev-guest',
      policy: POLICY_NO_DEBUG | POLICY_ES,
      sharedMemory: false,
    }),
}
