import t from 'tap'
import { type Job, schedule } from './schedule.ts'

/** Jobs that record the most that ran at once, and end when they are told to. */
function recorder(needs: readonly { vcpus: number; memoryMiB: number }[]) {
  const running = new Set<number>()
  const seen: number[][] = []
  const releases: (() => void)[] = []
  const jobs: Job<number>[] = needs.map((need, index) => ({
    needs: need,
    run: async () => {
      running.add(index)
      seen.push([...running])
      await new Promise<void>((resolve) => {
        releases[index] = resolve
      })
      running.delete(index)
      return index
    },
  }))
  return { jobs, seen, releases }
}

t.test('never more at once than jobs, vCPUs and memory allow', async (t) => {
  const small = { vcpus: 1, memoryMiB: 100 }
  const { jobs, seen, releases } = recorder([
    small,
    { vcpus: 2, memoryMiB: 100 },
    small,
    { vcpus: 1, memoryMiB: 950 },
  ])
  const done = schedule(jobs, { jobs: 3, vcpus: 2, memoryMiB: 1000 })
  await Promise.resolve()
  t.same(seen.at(-1), [0, 2], 'the two-vCPU job waits, a later one that fits overtakes')
  for (let ended = 0; ended < 4; ) {
    const index = releases.findIndex((release) => release !== undefined)
    releases[index]?.()
    delete releases[index]
    ended++
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.same(await done, [0, 1, 2, 3], 'results keep the order of the jobs')
  for (const at of seen) t.ok(at.length <= 2)
})

t.test('a job larger than the host runs alone', async (t) => {
  const { jobs, seen, releases } = recorder([
    { vcpus: 64, memoryMiB: 9e6 },
    { vcpus: 1, memoryMiB: 1 },
  ])
  const done = schedule(jobs, { jobs: 4, vcpus: 2, memoryMiB: 1000 })
  t.same(seen, [[0]])
  releases[0]?.()
  await new Promise((resolve) => setImmediate(resolve))
  t.same(seen, [[0], [1]])
  releases[1]?.()
  t.same(await done, [0, 1])
})

t.test('a job that throws makes the schedule throw', async (t) => {
  const failing: Job<number> = {
    needs: { vcpus: 1, memoryMiB: 1 },
    run: async () => Promise.reject(new Error('x')),
  }
  await t.rejects(schedule([failing], { jobs: 1, vcpus: 1, memoryMiB: 1 }), { message: 'x' })
})
