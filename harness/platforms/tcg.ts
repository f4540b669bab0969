import type { PlatformDescriptor } from './descriptor.ts'

export const tcg: PlatformDescriptor = {
  id: 'tcg',
  title: 'QEMU, emulated processor',
  basis: 'emulated',
  needs: [
    { fact: 'qemu', why: 'QEMU must start' },
    { fact: 'qemu-tcg', why: 'QEMU must be built with TCG' },
  ],
  wants: [],
  firmwareLoads: ['pflash', 'bios'],
  reboot: () => 'reset',
  apply: (description) => ({
    ...description,
    accelerator: 'tcg',
    // Without SHA-NI the firmware hashes the UKI a fifth faster: TCG emulates those instructions slowly.
    cpu: 'max,sha-ni=off',
  }),
}
