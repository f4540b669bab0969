import { join } from 'node:path'
import { provisionSrk } from '../machine/vtpm/srk.ts'
import { createVtpmState } from '../machine/vtpm/state.ts'
import type { Attack } from './attack.ts'

export const foreignVtpm: Attack = {
  id: 'foreign-vtpm',
  seam: 'vtpm-state',
  interference: "the host starts the VM with another VM's vTPM state",
  detectedBy: 'the sealed blob does not load under another storage root key',
  apply: async (victim) => {
    const other = join(victim.directory, 'foreign-vtpm')
    await createVtpmState(victim.tools, other)
    // A VM that has run has a storage root key; this is not the TPM of one that never did.
    await provisionSrk(victim.tools, other, victim.sockets)
    victim.vtpmState = other
  },
}
