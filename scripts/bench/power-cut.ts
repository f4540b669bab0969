/** One state that a power cut can leave behind: from the preparation of its disks until a slot is up, and off again. */
import { recordPowerCuts } from '../../harness/run/index.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Measure } from './figure.ts'
import { type BenchLab, driveGuest, openWorkbench } from './workbench.ts'

/** Seconds. */
const LIMIT = 25

export const powerCut: Measure = {
  id: 'power-cut',
  title: 'states of a power cut, of A/B guests with an encrypted root',
  run: async ({ repeat = 1, signal, tell }) => {
    await using scope = new Scope('power-cut')
    const bench = await openWorkbench(scope, signal)
    await bench.shelf.buildAll(['ab'])
    const states: number[] = []
    const recordings: number[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`recording, and the states of one variable that is written: ${i} of ${repeat}`)
      await driveGuest(bench, {
        ...{ name: `cuts-${i}`, image: 'ab', vtpm: 'stateful', persistentVariables: true },
        drive: async (lab) => {
          const { recording, seconds } = await timesOf(lab)
          recordings.push(recording)
          states.push(...seconds)
        },
      })
    }
    return {
      figures: [
        { name: 'one state', unit: 's', samples: states, limit: { atMost: LIMIT } },
        { name: 'recording, with its boot', unit: 's', samples: recordings },
      ],
    }
  },
}

/** The least that is an update: one variable is written. */
async function timesOf(lab: BenchLab): Promise<{ recording: number; seconds: readonly number[] }> {
  const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next', onPanic: 'continue' })
  const startedAt = performance.now()
  const cuts = await recordPowerCuts(vm)
  const boot = await (await vm.boot()).settle()
  const guest = await boot.login()
  await cuts.mark('start')
  await guest.succeed(['efibootmgr', '-q', '-t', '7'])
  await cuts.mark('written')
  await boot.machine.quit()
  const recording = (performance.now() - startedAt) / 1000
  const { start, end, seconds, broken } = await cuts.boot()
  if (broken.length > 0 || start.came === 'down' || end.came === 'down')
    throw new Error(`a state does not boot: ${broken[0]?.line ?? 'the first or the last'}`)
  return { recording, seconds: [start.seconds, end.seconds, ...seconds] }
}
