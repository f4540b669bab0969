import fc from 'fast-check'
import t from 'tap'
import { type Job, type Resources, schedule } from './schedule.ts'

const NOTHING: Resources = { vcpus: 0, memoryMiB: 0, diskMiB: 0, sev: 0, sev_es: 0, tdx: 0 }
const PLENTY = { vcpus: 1e6, memoryMiB: 1e6, diskMiB: 1e6, sev: 1e6, sev_es: 1e6, tdx: 1e6, jobs: 1e6 }

/** Jobs that record what runs at once, and end when they are told to. */
function recorder(needs: readonly Partial<Resources>[]) {
  const running = new Set<number>()
  const seen: number[][] = []
  const started: number[] = []
  const releases = new Map<number, () => void>()
  const jobs: Job<string>[] = needs.map((need, index) => ({
    needs: { ...NOTHING, ...need },
    tooLarge: (resource, most) => `${index}: more ${resource} than ${most}`,
    run: async () => {
      running.add(index)
      started.push(index)
      seen.push([...running])
      await new Promise<void>((resolve) => releases.set(index, resolve))
      running.delete(index)
      return `${index} ran`
    },
  }))
  const release = async (index: number): Promise<void> => {
    releases.get(index)?.()
    releases.delete(index)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { jobs, seen, started, running, release }
}

t.test('a later job that fits overtakes one that does not; results keep the order of the jobs', async (t) => {
  const small = { vcpus: 1, memoryMiB: 100 }
  const { jobs, seen, release } = recorder([small, { vcpus: 2 }, small, { vcpus: 1, memoryMiB: 950 }])
  const done = schedule(jobs, { ...PLENTY, jobs: 3, vcpus: 2, memoryMiB: 1000 })
  await Promise.resolve()
  t.same(seen.at(-1), [0, 2])
  for (const index of [0, 2, 1, 3]) await release(index)
  t.same(await done, ['0 ran', '1 ran', '2 ran', '3 ran'])
})

t.test('beside each other the longest start first; one at a time they start in their order', async (t) => {
  for (const [jobs, first] of [
    [2, [1, 3]],
    [1, [0]],
  ] as const) {
    const recorded = recorder([{}, {}, {}, {}])
    const seconds = [10, 300, undefined, 200]
    const timed = recorded.jobs.map((job, index) => {
      const most = seconds[index]
      return { ...job, ...(most !== undefined && { seconds: most }) }
    })
    const done = schedule(timed, { ...PLENTY, jobs })
    await Promise.resolve()
    t.same(recorded.started, first)
    const left = [1, 3, 0, 2, 0, 1, 2, 3]
    for (const index of left) await recorded.release(index)
    for (const index of left) await recorded.release(index)
    t.same(await done, ['0 ran', '1 ran', '2 ran', '3 ran'])
  }
})

t.test('a job larger than the host is not started, and says what it lacks', async (t) => {
  const { jobs, started } = recorder([{ vcpus: 64 }, { memoryMiB: 9e6 }, { sev_es: 1 }])
  const limits = { ...PLENTY, vcpus: 2, memoryMiB: 1000, sev_es: 0 }
  t.same(await schedule(jobs, limits), [
    '0: more vcpus than 2',
    '1: more memoryMiB than 1000',
    '2: more sev_es than 0',
  ])
  t.same(started, [])
})

t.test('ASIDs and key ids are filled and never overcommitted', async (t) => {
  const { jobs, running, release } = recorder([{ sev_es: 1 }, { sev_es: 1 }, { sev_es: 1 }, { tdx: 1 }])
  const done = schedule(jobs, { ...PLENTY, sev_es: 2, tdx: 1 })
  t.same([...running], [0, 1, 3])
  await release(0)
  t.same([...running], [1, 3, 2])
  for (const index of [1, 2, 3]) await release(index)
  await done
})

t.test('a large job is not starved by small ones', async (t) => {
  const small = Array.from({ length: 60 }, () => ({ vcpus: 1 }))
  const { jobs, started, running, release } = recorder([{ vcpus: 1 }, { vcpus: 2 }, ...small])
  const done = schedule(jobs, { ...PLENTY, vcpus: 2 })
  // The first one never leaves both cores free until all small ones that may overtake have been started.
  while (running.size > 0) await release([...running].at(-1) ?? 0)
  await done
  t.ok(started.indexOf(1) > 1, 'some overtook it')
  t.ok(started.indexOf(1) < 20, `but not ${small.length}: it was number ${started.indexOf(1)}`)
})

t.test(
  'whatever is asked for: nothing is overcommitted, everything that fits runs, and no core idles',
  async () => {
    const need = fc.record({
      vcpus: fc.integer({ min: 0, max: 5 }),
      memoryMiB: fc.integer({ min: 0, max: 50 }),
      sev: fc.integer({ min: 0, max: 1 }),
    })
    const limits = fc.record({
      jobs: fc.integer({ min: 1, max: 6 }),
      vcpus: fc.integer({ min: 1, max: 4 }),
      memoryMiB: fc.integer({ min: 1, max: 60 }),
      sev: fc.integer({ min: 0, max: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(need, { maxLength: 40 }), limits, fc.integer(), async (needs, most, seed) => {
        const { jobs, seen, running, release } = recorder(needs)
        const done = schedule(jobs, { ...PLENTY, ...most })
        for (let step = 0; running.size > 0; step++)
          await release([...running][Math.abs((seed + step * 7919) % running.size)] ?? 0)
        const results = await done
        for (const at of seen) {
          const sum = (name: 'vcpus' | 'memoryMiB' | 'sev') =>
            at.reduce((all, i) => all + (needs[i]?.[name] ?? 0), 0)
          if (at.length > most.jobs) throw new Error(`${at.length} jobs at once`)
          for (const name of ['vcpus', 'memoryMiB', 'sev'] as const)
            if (sum(name) > most[name]) throw new Error(`${sum(name)} ${name} of ${most[name]}`)
        }
        for (const [index, each] of needs.entries()) {
          const fits = each.vcpus <= most.vcpus && each.memoryMiB <= most.memoryMiB && each.sev <= most.sev
          if ((results[index] === `${index} ran`) !== fits) throw new Error(`${index}: ${results[index]}`)
        }
        return results.length === needs.length
      }),
      { numRuns: 200 },
    )
  },
)

t.test('a job that throws makes the schedule throw', async (t) => {
  const failing: Job<string> = {
    needs: { ...NOTHING, vcpus: 1 },
    tooLarge: () => '',
    run: async () => Promise.reject(new Error('x')),
  }
  await t.rejects(schedule([failing], PLENTY), { message: 'x' })
})
