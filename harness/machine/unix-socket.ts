import { connect, type Socket } from 'node:net'
import pRetry from 'p-retry'
import { type TimeoutCode, TimeoutError } from '../base/errors.ts'
import { socketPath } from './options.ts'

export interface ConnectOptions {
  /** In messages: `QMP of vm1`. */
  readonly name: string
  readonly timeoutMs: number
  /** Which deadline a TimeoutError names. */
  readonly timeoutCode: TimeoutCode
  /** Ends the attempts at once: the listener has died. The wait rejects with its reason. */
  readonly signal?: AbortSignal
}

/** The listener is about to exist, or exists and does not listen yet. */
const NOT_YET = new Set(['ENOENT', 'ECONNREFUSED', 'EAGAIN'])
const FIRST_WAIT_MS = 2
const LONGEST_WAIT_MS = 50

/**
 * Connects to a unix socket that another process is about to make. Check `destroyed` where you do not listen at once: an
 * early error is not thrown. Throws TimeoutError after `timeoutMs`, the
 * signal's reason when it is aborted, LaunchError `socket-path-too-long`.
 */
export async function connectUnix(path: string, options: ConnectOptions): Promise<Socket> {
  socketPath(options.name, path)
  const started = performance.now()
  try {
    return await pRetry(() => connectOnce(path), {
      retries: Number.POSITIVE_INFINITY,
      maxRetryTime: options.timeoutMs,
      minTimeout: FIRST_WAIT_MS,
      maxTimeout: LONGEST_WAIT_MS,
      factor: 1.2,
      shouldRetry: ({ error }) =>
        NOT_YET.has(codeOf(error)) && performance.now() - started < options.timeoutMs,
      ...(options.signal ? { signal: options.signal } : {}),
    })
  } catch (cause) {
    if (options.signal?.aborted) throw options.signal.reason
    if (!NOT_YET.has(codeOf(cause))) throw cause
    throw new TimeoutError(
      `cannot connect to ${options.name}: ${codeOf(cause)} for ${options.timeoutMs} ms`,
      {
        code: options.timeoutCode,
        cause,
      },
    )
  }
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const fail = (error: Error) => {
      // It listened, and was gone before it accepted: that is connected for a moment too.
      if (codeOf(error) === 'ECONNRESET') resolve(socket)
      else reject(error)
    }
    socket.once('error', fail)
    socket.once('connect', () => {
      // Its owner listens a moment later; until then a peer that dies must not take the harness with it.
      socket.on('error', () => {})
      socket.off('error', fail)
      resolve(socket)
    })
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
