import { rebootBy } from './confidential.ts'
import type { PlatformDescriptor } from './descriptor.ts'
import { sevEsPrediction } from './predicted-launch.ts'
import { sevHostNeeds } from './sev.ts'
import { withSev } from './sev-object.ts'
import { ENCRYPTED_STATE, sevPolicy } from './sev-policy.ts'

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
  qemuSince: [9, 1],
  predictLaunch: sevEsPrediction,
  guestSlot: 'sev_es',
  launchOptions: ['cpu', 'policy'],
  reboot: rebootBy,
  apply: (description, host, options = {}) =>
    withSev(
      description,
      { platform: sevEs, host, options },
      {
        type: 'sev-guest',
        policy: sevPolicy(options, ENCRYPTED_STATE),
        sharedMemory: false,
        // Left to itself QEMU takes the older of KVM's two interfaces, under which the floating-point state is not in the
        // VMSA: another launch digest than the one that other tools predict. The newer needs Linux 6.10.
        properties: { 'legacy-vm-type': 'off' },
      },
    ),
}
