/**
 * A lock between processes that the kernel releases when its holder dies, however it dies: a `flock` process holds
 * it for as long as the pipe to us is open. So there is no stale lock to guess about, and waiting costs nothing.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HostError } from '../base/errors.ts'
import { errorCode } from './files.ts'

export interface LockOptions {
  /** Give up after this many milliseconds with HostError 'locked'; absent: wait for ever. */
  readonly timeoutMs?: number
  /** Called once when the lock is not free within 500 ms. */
  readonly onWait?: () => void
}

export interface Lock extends AsyncDisposable {
  release(): Promise<void>
}

const WAIT_NOTICE_MS = 500
/** A flock that waits has no pipe to us to notice our death by: it waits for so long at a time. */
const TURN_MS = 1000
/** Not flock's own default of 1, which is also what a failing shell gives. */
const EXIT_TIMED_OUT = 75

/**
 * Takes the lock file `path` exclusively; the file is created and stays. Two locks on one path exclude each other
 * within one process too. Throws HostError 'locked' on timeout, 'program-missing' without flock(1).
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const deadline = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY)
  const notice = setTimeout(() => options.onWait?.(), WAIT_NOTICE_MS)
  try {
    for (;;) {
      const left = Math.max(0, deadline - performance.now())
      const lock = await tryFor(path, Math.min(left, TURN_MS))
      if (typeof lock !== 'number') return lock
      if (lock !== EXIT_TIMED_OUT || left <= TURN_MS) throw lockFailed(path, lock, options)
    }
  } finally {
    clearTimeout(notice)
  }
}

/** The lock, or the exit code of a flock that did not get it. */
async function tryFor(path: string, milliseconds: number): Promise<Lock | number> {
  const holder = spawn(
    'flock',
    [
      '--exclusive',
      '--conflict-exit-code',
      String(EXIT_TIMED_OUT),
      ...['--timeout', String(milliseconds / 1000)],
      path,
      'sh',
      '-c',
      'echo held; exec cat',
    ],
    // Its own session: Ctrl-C must not take the lock from a harness that is still cleaning up.
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  )
  holder.stdin.on('error', () => {})
  const exited = new Promise<number | null>((resolve) => holder.once('exit', resolve))
  try {
    const held = once(holder.stdout, 'data').then(() => 'held' as const)
    const result = await Promise.race([
      held,
      exited,
      once(holder, 'error').then(([error]) => Promise.reject(error)),
    ])
    // -1: by a signal.
    if (result !== 'held') return result ?? -1
  } catch (error) {
    throw errorCode(error) === 'ENOENT' ? flockMissing(error) : error
  }
  const release = async (): Promise<void> => {
    holder.stdin.destroy()
    await exited
  }
  return { release, [Symbol.asyncDispose]: release }
}

/** Runs `body` while holding the lock. */
export async function withLock<T>(path: string, options: LockOptions, body: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(path, options)
  try {
    return await body()
  } finally {
    await lock.release()
  }
}

function lockFailed(path: string, exitCode: number, options: LockOptions): HostError {
  const reason =
    exitCode === EXIT_TIMED_OUT
      ? `another process still held it after ${options.timeoutMs} ms`
      : `flock ended with ${exitCode}`
  return new HostError(`cannot lock ${path}: ${reason}`, { code: 'locked' })
}

function flockMissing(cause: unknown): HostError {
  return new HostError('cannot take a lock: the program flock is missing', {
    code: 'program-missing',
    hint: 'Install util-linux.',
    cause,
  })
}
