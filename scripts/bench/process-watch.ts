/**
 * When the programs that a process starts come and go, seen from outside: the watched process knows nothing of it and
 * pays nothing for it.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface SeenProgram {
  /** Name of the program as the kernel keeps it: its first 15 bytes. */
  readonly name: string
  /** Milliseconds since the epoch; the program was already there at the first, and still there at the last. */
  readonly firstSeen: number
  readonly lastSeen: number
}

export interface WatchOptions {
  /** Ends the watch when a program of this name appears. */
  readonly until: string
  readonly timeoutMs: number
  /** Between two looks; how exact the times are. Default 2. */
  readonly everyMs?: number
}

/** Longest name that the kernel keeps (TASK_COMM_LEN less its NUL). */
const NAME_BYTES = 15
const EVERY_MS = 2

/**
 * Watches `pid` and all below it until `until` appears; that one is the last of the list. Throws when the process ends
 * before, or after `timeoutMs`.
 */
export async function watchPrograms(pid: number, options: WatchOptions): Promise<readonly SeenProgram[]> {
  const awaited = options.until.slice(0, NAME_BYTES)
  const deadline = Date.now() + options.timeoutMs
  const seen = new Map<string, SeenProgram>()
  for (;;) {
    const now = Date.now()
    for (const { id, name } of below(pid)) {
      const known = seen.get(`${id} ${name}`)
      seen.set(`${id} ${name}`, { name, firstSeen: known?.firstSeen ?? now, lastSeen: now })
      if (name === awaited) return inOrder(seen)
    }
    if (nameOf(pid) === undefined) throw new Error(`process ${pid} ended before ${options.until} was started`)
    if (now > deadline)
      throw new Error(`process ${pid} did not start ${options.until} within ${options.timeoutMs} ms`)
    await sleep(options.everyMs ?? EVERY_MS)
  }
}

function inOrder(seen: ReadonlyMap<string, SeenProgram>): readonly SeenProgram[] {
  return [...seen.values()].sort((a, b) => a.firstSeen - b.firstSeen)
}

function below(pid: number): readonly { readonly id: number; readonly name: string }[] {
  return childrenOf(pid).flatMap((id) => {
    const name = nameOf(id)
    return name === undefined ? [] : [...below(id), { id, name }]
  })
}

/** Those of its first thread, which is the one that starts programs here. */
function childrenOf(pid: number): readonly number[] {
  return (read(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number)
}

function nameOf(pid: number): string | undefined {
  return read(`/proc/${pid}/comm`)?.trimEnd()
}

/** Undefined when the process is gone. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
