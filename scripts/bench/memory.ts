/** Peak resident memory of the harness's process (not of QEMU and swtpm) while four VMs boot at once. */
import type { Measure } from './figure.ts'
import { type MemoryUse, VMS } from './memory-job.ts'
import { startJob } from './run-child.ts'

const LIMIT_MB = 150
const REPEAT = 1

export const memory: Measure = {
  id: 'memory',
  title: `memory of the harness with ${VMS} VMs (micro guests with vTPM)`,
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const uses: MemoryUse[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`${VMS} VMs at once: ${i} of ${repeat}`)
      uses.push((await startJob('memory', { signal }).result) as MemoryUse)
    }
    return {
      figures: [
        {
          name: 'peak resident memory',
          unit: 'MB',
          samples: uses.map(({ peak }) => peak),
          limit: { atMost: LIMIT_MB },
        },
        { name: 'before the first VM', unit: 'MB', samples: uses.map(({ before }) => before) },
      ],
      notes: [
        `${VMS} at once by the rooms below the scheduler, which starts no more vCPUs than there are cores`,
      ],
    }
  },
}
