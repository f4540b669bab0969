import { join } from 'node:path'
import { copyVtpmState } from '../machine/vtpm/state.ts'
import type { Attack } from './attack.ts'

/** `snapshot`: directory of an earlier moment of the same VM's vTPM state; it is left as it is. */
export function rollBackVtpm(snapshot: string): Attack {
  return {
    id: 'roll-back-vtpm',
    seam: 'vtpm-state',
    interference: 'the host puts an earlier state of the vTPM back',
    detectedBy: 'a monotonic NV counter that is behind what the encrypted root remembers',
    apply: async (victim) => {
      const restored = join(victim.directory, 'rolled-back-vtpm')
      await copyVtpmState(snapshot, restored)
      victim.vtpmState = restored
    },
  }
}
