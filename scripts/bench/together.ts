/** Two VMs at once against one, from their materials to their end; one and two in turn. */
import { Scope } from '../../harness/system/scope.ts'
import type { Measure } from './figure.ts'
import { driveGuest, openWorkbench, type Workbench } from './workbench.ts'

const LIMIT = 1.25
const REPEAT = 3

export const together: Measure = {
  id: 'two',
  title: 'two VMs at once against one (micro guests with vTPM, from materials to power-off)',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    await using scope = new Scope('two')
    const bench = await openWorkbench(scope, signal)
    await bench.shelf.buildAll(['micro'])
    const pairs: { readonly one: number; readonly two: number }[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`one VM, then two at once: ${i} of ${repeat}`)
      const one = await seconds(bench, [`one-${i}`])
      const two = await seconds(bench, [`two-${i}-a`, `two-${i}-b`])
      pairs.push({ one, two })
    }
    return {
      figures: [
        {
          name: 'two at once / one',
          unit: 'ratio',
          samples: pairs.map(({ one, two }) => two / one),
          limit: { atMost: LIMIT },
        },
        { name: 'one', unit: 's', samples: pairs.map(({ one }) => one) },
        { name: 'two at once', unit: 's', samples: pairs.map(({ two }) => two) },
      ],
    }
  },
}

async function seconds(bench: Workbench, names: readonly string[]): Promise<number> {
  const startedAt = performance.now()
  await Promise.all(names.map((name) => bootOnce(bench, name)))
  return (performance.now() - startedAt) / 1000
}

/** A VM's whole life. */
export function bootOnce(bench: Workbench, name: string): Promise<void> {
  return driveGuest(bench, {
    ...{ name, image: 'micro', vtpm: 'stateful' },
    drive: async (lab) => {
      const vm = await lab.vm('guest')
      const boot = await vm.boot()
      const guest = await boot.login()
      await guest.succeed(['true'])
      await boot.powerOff()
    },
  })
}
