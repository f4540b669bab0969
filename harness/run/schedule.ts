/**
 * Runs jobs side by side within what the host has. A job states what it takes; nothing is started that would
 * overcommit, and a job that alone takes more than there is is not started at all.
 */

export interface Resources {
  readonly vcpus: number
  readonly memoryMiB: number
  readonly diskMiB: number
  /** ASIDs of SEV, those that SEV-ES and SEV-SNP share, key ids of TDX. */
  readonly sev: number
  readonly sev_es: number
  readonly tdx: number
}

export interface Job<Result> {
  readonly needs: Resources
  /** Seconds that it may take at most; absent: not known, and taken to be short. */
  readonly seconds?: number
  readonly run: () => Promise<Result>
  /** The result of a job that cannot ever start: what it takes more of than there is, and of how much. */
  readonly tooLarge: (resource: keyof Resources, most: number) => Result
}

export interface ScheduleLimits extends Resources {
  /** Most jobs at once. */
  readonly jobs: number
}

/** How often later jobs may start before one that does not fit yet; then everything waits for it. */
const MOST_OVERTAKEN = 16

interface Waiting<Result> {
  readonly job: Job<Result>
  readonly index: number
  overtaken: number
}

/**
 * Results in the order of `jobs`. Where several run at once the longest start first, since one that starts last would run
 * alone; else they start in their order. One that fits may overtake one that does not, but not for ever: a large job is
 * not starved by small ones. Rejects when a job does; those that run are awaited by whoever
 * started them.
 */
export async function schedule<Result>(
  jobs: readonly Job<Result>[],
  limits: ScheduleLimits,
): Promise<readonly Result[]> {
  const results: Result[] = []
  const running = new Map<number, Promise<void>>()
  const used: Record<keyof Resources, number> = {
    ...{ vcpus: 0, memoryMiB: 0, diskMiB: 0 },
    ...{ sev: 0, sev_es: 0, tdx: 0 },
  }
  const waiting: Waiting<Result>[] = []
  for (const [index, job] of jobs.entries()) {
    const short = exceeded(job.needs, limits)
    if (short === undefined) waiting.push({ job, index, overtaken: 0 })
    else results[index] = job.tooLarge(short, limits[short])
  }
  if (limits.jobs > 1) waiting.sort((one, other) => (other.job.seconds ?? 0) - (one.job.seconds ?? 0))

  const start = ({ job, index }: Waiting<Result>): void => {
    for (const name of RESOURCES) used[name] += job.needs[name]
    const finished = job
      .run()
      .then((result) => {
        results[index] = result
      })
      .finally(() => {
        for (const name of RESOURCES) used[name] -= job.needs[name]
        running.delete(index)
      })
    running.set(index, finished)
  }

  const startWhatFits = (): void => {
    const passed: Waiting<Result>[] = []
    for (let next = 0; next < waiting.length && running.size < limits.jobs; ) {
      const candidate = waiting[next]
      if (candidate === undefined) return
      if (fits(candidate.job.needs, used, limits)) {
        waiting.splice(next, 1)
        for (const each of passed) each.overtaken++
        start(candidate)
        continue
      }
      if (candidate.overtaken >= MOST_OVERTAKEN) return
      passed.push(candidate)
      next++
    }
  }

  for (startWhatFits(); running.size > 0; startWhatFits()) await Promise.race(running.values())
  return results
}

const RESOURCES: readonly (keyof Resources)[] = ['vcpus', 'memoryMiB', 'diskMiB', 'sev', 'sev_es', 'tdx']

function fits(needs: Resources, used: Resources, limits: Resources): boolean {
  return RESOURCES.every((name) => needs[name] === 0 || used[name] + needs[name] <= limits[name])
}

function exceeded(needs: Resources, limits: Resources): keyof Resources | undefined {
  return RESOURCES.find((name) => needs[name] > 0 && needs[name] > limits[name])
}
