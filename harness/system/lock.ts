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
/** Not flock's own default of 1, which is also what a failing shell gives. */
const EXIT_TIMED_OUT = 75

/**
 * Takes the lock file `path` exclusively; the file is created and stays. Two locks on one path exclude each other
 * within one process too. Throws HostError 'locked' on timeout, 'program-missing' without flock(1).
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const wait = options.timeoutMs === undefined ? [] : ['--timeout', String(options.timeoutMs / 1000)]
  const holder = spawn(
    'flock',
    [
      '--exclusive',
      '--conflict-exit-code',
      String(EXIT_TIMED_OUT),
      ...wait,
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
  const notice = setTimeout(() => options.onWait?.(), WAIT_NOTICE_MS)
  try {
    const held = once(holder.stdout, 'data').then(() => 'held' as const)
    const result = await Promise.race([
      held,
      exited,
      once(holder, 'error').then(([error]) => Promise.reject(error)),
    ])
    if (result !== 'held') throw lockFailed(path, result, options)
  } catch (error) {
    throw errorCode(error) === 'ENOENT' ? flockMissing(error) : error
  } finally {
    clearTimeout(notice)
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

function lockFailed(path: string, exitCode: number | null, options: LockOptions): HostError {
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
