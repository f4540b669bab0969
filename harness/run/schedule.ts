/**
 * Runs jobs side by side within what the host has. A job states its vCPUs and memory; nothing is started that
 * would overcommit, and a job that alone is larger than the host is still run, alone.
 */

export interface Resources {
  readonly vcpus: number
  readonly memoryMiB: number
}

export interface Job<Result> {
  readonly needs: Resources
  readonly run: () => Promise<Result>
}

export interface ScheduleLimits extends Resources {
  /** Most jobs at once. */
  readonly jobs: number
}

/** Results in the order of `jobs`. Jobs start in that order, a later one that fits may overtake. */
export async function schedule<Result>(
  jobs: readonly Job<Result>[],
  limits: ScheduleLimits,
): Promise<readonly Result[]> {
  const results = new Map<number, Result>()
  const waiting = jobs.map((job, index) => ({ job, index }))
  const running = new Map<number, Promise<void>>()
  const used = { vcpus: 0, memoryMiB: 0 }

  const fits = ({ needs }: Job<Result>): boolean =>
    running.size === 0 ||
    (running.size < limits.jobs &&
      used.vcpus + needs.vcpus <= limits.vcpus &&
      used.memoryMiB + needs.memoryMiB <= limits.memoryMiB)

  const start = ({ job, index }: { job: Job<Result>; index: number }): void => {
    used.vcpus += job.needs.vcpus
    used.memoryMiB += job.needs.memoryMiB
    const finished = job
      .run()
      .then((result) => {
        results.set(index, result)
      })
      .finally(() => {
        used.vcpus -= job.needs.vcpus
        used.memoryMiB -= job.needs.memoryMiB
        running.delete(index)
      })
    running.set(index, finished)
  }

  while (waiting.length > 0 || running.size > 0) {
    for (let next = 0; next < waiting.length; ) {
      const candidate = waiting[next]
      if (candidate && fits(candidate.job)) start(...(waiting.splice(next, 1) as [typeof candidate]))
      else next++
    }
    await Promise.race(running.values())
  }
  return jobs.flatMap((_, index) => (results.has(index) ? [results.get(index) as Result] : []))
}
