/** Whether the vCPUs do anything: the time that their threads run or wait for a CPU, from /proc. */
import { readdir, readFile } from 'node:fs/promises'

export interface Activity {
  /** Milliseconds since the console's last byte, or since the guest was continued. */
  readonly silentMs: number
  /** Share of the last window that the busiest vCPU ran or wanted to, 0 to 1; undefined before the first sample. */
  readonly load: number | undefined
}

/**
 * A vCPU that is halted for good uses exactly nothing (0 ns in 30 s were measured). An idle Linux wakes for its timers:
 * 5 to 17 ms a second were measured under TCG; a wake-up under KVM is far cheaper, so the line is drawn near zero.
 */
const INERT_MS_PER_SECOND = 0.002
/** A vCPU that executes all the time: a loop, or a panicked kernel waiting (98 % was measured). */
const SPINNING_LOAD = 0.9

const NANOSECONDS_PER_MS = 1e6
/** USER_HZ, the unit of a stat file in /proc: 100 on every architecture that QEMU's x86 machines run on. */
const MS_PER_TICK = 10
const UTIME_FIELD = 11

/** The text of a timeout's message: `console silent for 31 s, a vCPU spins (99 % busy)`. */
export function describeActivity({ silentMs, load }: Activity): string {
  const silence = `console silent for ${Math.round(silentMs / 1000)} s`
  if (load === undefined) return silence
  const busy = `${Math.round(load * 100)} % busy`
  if (load >= SPINNING_LOAD) return `${silence}, a vCPU spins (${busy})`
  return `${silence}, vCPUs ${load * 1000 < INERT_MS_PER_SECOND ? 'make no progress' : busy}`
}

/**
 * Host thread ids of a process's threads, by their id inside its PID namespace: QMP's query-cpus-fast gives the
 * latter, /proc knows the former.
 */
export async function hostThreads(pid: number, threadIds: readonly number[]): Promise<number[]> {
  const wanted = new Set(threadIds)
  const tasks = await readdir(`/proc/${pid}/task`)
  const found = await Promise.all(
    tasks.map(async (task) => {
      const status = await readFile(`/proc/${pid}/task/${task}/status`, 'utf8')
      const inside = /^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? task
      return wanted.has(Number(inside)) ? [Number(task)] : []
    }),
  )
  return found.flat()
}

/**
 * Milliseconds that each thread has run or has waited for a CPU: on a crowded host a vCPU that spins gets little time,
 * and wants all of it. Rejects when the process is gone.
 */
export async function threadTimes(pid: number, threads: readonly number[]): Promise<number[]> {
  return Promise.all(threads.map((thread) => threadTime(`/proc/${pid}/task/${thread}`)))
}

async function threadTime(directory: string): Promise<number> {
  const schedstat = await readFile(`${directory}/schedstat`, 'utf8').catch(() => '')
  const [ran, waited] = schedstat.split(' ').map(Number)
  if (ran && waited !== undefined) return (ran + waited) / NANOSECONDS_PER_MS
  // A kernel without schedstats counts ticks: coarse, but an idle guest needs several in a window all the same.
  const stat = await readFile(`${directory}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[UTIME_FIELD]) + Number(fields[UTIME_FIELD + 1])) * MS_PER_TICK
}

interface Sample {
  readonly at: number
  readonly times: readonly number[]
}

/** Decides from samples of the vCPUs' times whether a silent guest still does something. */
export class ActivityMeter {
  readonly #windowMs: number
  #samples: Sample[] = []

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** Forgets what was: the guest was paused, continued or reset. */
  restart(): void {
    this.#samples = []
  }

  add(at: number, times: readonly number[]): void {
    this.#samples.push({ at, times })
    // One sample older than the window is kept: the window's start lies between it and its successor.
    while ((this.#samples[1]?.at ?? Number.POSITIVE_INFINITY) <= at - this.#windowMs) this.#samples.shift()
  }

  /** Share of the time since the oldest sample that the busiest vCPU used. */
  get load(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.at === first.at) return undefined
    const used = last.times.map((time, vcpu) => time - (first.times[vcpu] ?? time))
    return Math.max(0, ...used) / (last.at - first.at)
  }

  /** Whether no vCPU has made progress for a whole window. */
  get inert(): boolean {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.at - first.at < this.#windowMs) return false
    return (this.load ?? 1) * 1000 < INERT_MS_PER_SECOND
  }
}
