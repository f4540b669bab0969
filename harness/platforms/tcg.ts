import type { PlatformDescriptor } from './descriptor.ts'
import { refuseOthers } from './launch-options.ts'

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
  launchOptions: [],
  reboot: () => 'reset',
  apply: (description, _host, options = {}) => {
    refuseOthers('tcg', options, [])
    // TCG emulates SHA-NI and AVX slowly: without them the firmware loads and hashes a UKI in half the time. It walks
    // page tables by software: each level less is time saved at every miss. And it moves strings a unit at a time: a kernel
    // that is told of fast byte moves (ERMS, FSRM) makes eight times the moves for each page that it clears or copies.
    return { ...description, accelerator: 'tcg', cpu: 'max,sha-ni=off,avx=off,la57=off,erms=off,fsrm=off' }
  },
}
