/**
 * Boot to the unlocked root, by the harness and by hand at the same time, each on a core of its own together with
 * everything it needs: so whatever disturbs the machine disturbs both, and whatever the harness costs only its own
 * guest. The cores change sides every time.
 */
import { readFileSync } from 'node:fs'
import type { Measure, MeasureOptions } from './figure.ts'
import { type ChildJob, startJob } from './run-child.ts'
import type { BootTime } from './side-by-side-jobs.ts'

const LIMIT = 1.05
const REPEAT = 3

export const sideBySide: Measure = {
  id: 'unlock',
  title: 'boot to the unlocked root, against the same command lines started by hand',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const cores = usableCores()
    const pairs: Pair[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`unlock by harness and by hand: ${i} of ${repeat}`)
      const [first, second] = i % 2 === 1 ? cores : cores.toReversed()
      pairs.push(await pair({ signal }, { harness: first, hand: second }))
    }
    const ratios = pairs.map(({ harness, hand }) => harness.seconds / hand.seconds)
    const qemu = pairs.map(({ harness, hand }) => harness.qemuCpuSeconds / hand.qemuCpuSeconds)
    const cpu = pairs.map(({ harness }) => harness.harnessCpuSeconds)
    return {
      figures: [
        { name: 'harness / by hand', unit: 'ratio', samples: ratios, limit: { atMost: LIMIT } },
        { name: 'harness', unit: 's', samples: pairs.map(({ harness }) => harness.seconds) },
        { name: 'by hand', unit: 's', samples: pairs.map(({ hand }) => hand.seconds) },
        { name: "harness / by hand, QEMU's CPU time", unit: 'ratio', samples: qemu },
        { name: "CPU time of the harness's process meanwhile", unit: 's', samples: cpu },
      ],
      notes: [
        cores.length < 2
          ? 'one core: the two ran one after the other'
          : 'both at once, each bound to a core of its own',
      ],
    }
  },
}

interface Pair {
  readonly harness: BootTime
  readonly hand: BootTime
}

async function pair(
  { signal }: Pick<MeasureOptions, 'signal'>,
  cores: { readonly harness: number | undefined; readonly hand: number | undefined },
): Promise<Pair> {
  const harness = startJob('boot-with-harness', { core: cores.harness, signal })
  const hand = startJob('boot-by-hand', { core: cores.hand, signal })
  await Promise.all([harness.ready, hand.ready])
  if (cores.hand === undefined) {
    const first = await finish(harness)
    return { harness: first, hand: await finish(hand) }
  }
  const [byHarness, byHand] = await Promise.all([finish(harness), finish(hand)])
  return { harness: byHarness, hand: byHand }
}

async function finish(job: ChildJob): Promise<BootTime> {
  job.go()
  return (await job.result) as BootTime
}

/** Two processors that this process may use; one where there is only one. */
function usableCores(): readonly number[] {
  const status = readFileSync('/proc/self/status', 'utf8')
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(status)?.[1] ?? '0'
  return expandList(list).slice(0, 2)
}

/** `0-3,8` is 0, 1, 2, 3 and 8. */
export function expandList(list: string): readonly number[] {
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}
