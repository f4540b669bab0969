import type { QemuObject } from '../machine/description.ts'
import { confidential, rebootBy } from './confidential.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'
import { kvmNeeds } from './kvm.ts'

const TDX_ID = 'tdx0'

export const tdx: PlatformDescriptor = {
  id: 'tdx',
  title: 'Intel TDX',
  basis: 'hardware',
  needs: [
    // kvm_intel's parameter is the proof; the CPU itself does not say it in every kernel.
    { fact: 'cpu-tdx', why: 'the CPU must have TDX', unknownIsEnough: true },
    ...kvmNeeds,
    { fact: 'kvm-intel-tdx', why: 'kvm_intel must offer TDX' },
    { fact: 'tdx-key-ids', why: 'a key id must be left for a trust domain', unknownIsEnough: true },
    { fact: 'qemu-tdx', why: 'QEMU must know tdx-guest' },
  ],
  wants: [
    {
      fact: 'tdx-quote-socket',
      why: 'guests get no quotes: no quote-generation service',
      unknownIsEnough: true,
    },
  ],
  firmwareLoads: ['bios'],
  firmwareFeature: 'tdx',
  reboot: rebootBy,
  apply: (description, host) => {
    const base = confidential(description, tdx, host)
    return {
      ...base,
      cpu: 'host',
      machineOptions: {
        ...base.machineOptions,
        'kernel-irqchip': 'split',
        'confidential-guest-support': TDX_ID,
        hpet: 'off',
      },
      objects: [...base.objects, tdxGuest(host)],
    }
  },
}

function tdxGuest({ quoteSocket }: HostParameters): QemuObject {
  return {
    ...{ 'qom-type': 'tdx-guest', id: TDX_ID },
    ...(quoteSocket ? { 'quote-generation-socket': quoteSocket } : {}),
  }
}
