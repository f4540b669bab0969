/** From the first instruction (QMP `cont`) to the answer of the first command that runs in the guest. */
import { Scope } from '../../harness/system/scope.ts'
import { cpuSecondsOf } from './cpu-time.ts'
import type { Figure, Measure, MeasureOptions } from './figure.ts'
import { BENCH_PLATFORM, driveGuest, openWorkbench, type Workbench } from './workbench.ts'

const REPEAT = 3

interface Subject {
  readonly image: 'micro' | 'debian'
  readonly title: string
  /** Seconds. */
  readonly limit: number
}

const MICRO: Subject = { image: 'micro', title: 'micro guest with vTPM to its first command', limit: 25 }
const DEBIAN: Subject = { image: 'debian', title: 'Debian guest with vTPM to its first command', limit: 60 }

export const bootMicro: Measure = measureOf('boot-micro', MICRO)
export const bootDebian: Measure = measureOf('boot-debian', DEBIAN)

function measureOf(id: string, subject: Subject): Measure {
  return {
    id,
    title: `${subject.title}, by ${BENCH_PLATFORM}`,
    run: async (options) => {
      await using scope = new Scope(id)
      const bench = await openWorkbench(scope, options.signal)
      await bench.shelf.buildAll([subject.image])
      return { figures: await figuresOf(bench, subject, options) }
    },
  }
}

/** Seconds since power-on. */
interface Sample {
  readonly unlocked?: number
  readonly shell: number
  readonly answered: number
  /** CPU time of QEMU. */
  readonly cpu: number
}

async function figuresOf(
  bench: Workbench,
  { image, title, limit }: Subject,
  { repeat = REPEAT, tell }: MeasureOptions,
): Promise<readonly Figure[]> {
  const samples: Sample[] = []
  for (let i = 1; i <= repeat; i++) {
    tell(`${title}: ${i} of ${repeat}`)
    await driveGuest(bench, {
      ...{ name: `${image}-${i}`, image, vtpm: 'stateful' },
      drive: async (lab) => {
        const vm = await lab.vm('guest', image === 'debian' ? { seal: 'offline' } : {})
        const boot = await vm.boot()
        const startedAt = boot.machine.times.startedAt ?? Number.NaN
        const since = () => (Date.now() - startedAt) / 1000
        if (image === 'debian') await boot.unlock()
        const unlocked = image === 'debian' ? { unlocked: since() } : {}
        const guest = await boot.login()
        const shell = since()
        await guest.succeed(['true'])
        samples.push({ ...unlocked, shell, answered: since(), cpu: cpuSecondsOf(boot.machine.process) })
        await boot.cut()
      },
    })
  }
  const unlocked = samples.flatMap((each) => each.unlocked ?? [])
  return [
    { name: title, unit: 's', samples: samples.map(({ answered }) => answered), limit: { atMost: limit } },
    ...(unlocked.length > 0 ? [{ name: 'root unlocked after', unit: 's', samples: unlocked } as const] : []),
    { name: 'shell ready after', unit: 's', samples: samples.map(({ shell }) => shell) },
    { name: 'CPU time of QEMU', unit: 's', samples: samples.map(({ cpu }) => cpu) },
  ]
}
