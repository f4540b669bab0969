import { paletteFor } from '../../harness/report/palette.ts'
import { PlainReporter } from '../../harness/report/plain.ts'
import { fanOut } from '../../harness/report/reporter.ts'
import { RunFiles } from '../../harness/report/run-files.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Job } from './child.ts'
import { driveGuest, openWorkbench } from './workbench.ts'

export interface MemoryUse {
  /** Megabytes (10^6 bytes) of resident memory: with everything loaded and no VM yet, and the peak. */
  readonly before: number
  readonly peak: number
}

export const VMS = 4

/**
 * Four VMs at once from their materials to a command in each. Not by the scheduler, which starts no more vCPUs than the
 * host has cores, but through the same rooms, with the views that `attestbed run` has.
 */
export const memoryJob: Job = async (signal): Promise<MemoryUse> => {
  await using scope = new Scope('memory')
  const bench = await openWorkbench(scope, signal)
  await bench.shelf.buildAll(['micro'])
  const view = new PlainReporter({
    write: (text) => process.stderr.write(text),
    palette: paletteFor(process.stderr),
  })
  const { sink, close } = fanOut([view, new RunFiles()], (_, error) => {
    throw error
  })
  const before = process.memoryUsage.rss() / 1e6
  const names = Array.from({ length: VMS }, (_, index) => `memory-${index + 1}`)
  const driven = names.map((name) =>
    driveGuest(bench, {
      ...{ name, image: 'micro', vtpm: 'stateful', emit: sink },
      drive: async (lab) => {
        const boot = await (await lab.vm('guest')).boot()
        const guest = await boot.login()
        await guest.succeed(['true'])
        await boot.cut()
      },
    }),
  )
  await Promise.all(driven)
  close()
  // Kibibytes; the same as VmHWM of /proc/self/status.
  return { before, peak: (process.resourceUsage().maxRSS * 1024) / 1e6 }
}
