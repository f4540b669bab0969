/** Starts the jobs of child.ts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const PROGRAM = join(import.meta.dirname, 'child.ts')

export interface ChildJob {
  /** Resolves when the job waits for `go`. */
  readonly ready: Promise<void>
  readonly go: () => void
  /** Rejects with the last words of a job that failed. */
  readonly result: Promise<unknown>
}

export interface ChildOptions {
  /** Processor that it and all it starts are bound to; absent: any. */
  readonly core?: number | undefined
  readonly signal: AbortSignal
}

export function startJob(job: string, { core, signal }: ChildOptions): ChildJob {
  const command = [process.execPath, PROGRAM, job]
  const [file = '', ...args] = core === undefined ? command : ['taskset', '-c', String(core), ...command]
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  // It stops its VMs itself, and is waited for.
  const interrupt = (): void => void child.kill('SIGINT')
  signal.addEventListener('abort', interrupt, { once: true })
  child.once('close', () => signal.removeEventListener('abort', interrupt))
  // A job that has ended does not read `go` any more.
  child.stdin.on('error', () => {})
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => {})
  const result = resultOf(child, ready.resolve)
  result.catch((error: unknown) => ready.reject(error))
  return { ready: ready.promise, go: () => child.stdin.write('go\n'), result }
}

async function resultOf(child: ChildProcess, onReady: () => void): Promise<unknown> {
  const { stdout, stderr } = child
  if (stdout === null || stderr === null) throw new Error('a job needs pipes')
  let last = ''
  createInterface({ input: stdout }).on('line', (line) => {
    if (line === 'ready') onReady()
    else last = line
  })
  let words = ''
  stderr.on('data', (bytes: Buffer) => {
    words = (words + bytes.toString('utf8')).slice(-4000)
  })
  // Rejects when it could not be started.
  const [exitCode] = await once(child, 'close')
  if (exitCode !== 0) throw new Error(`a job of the bench ended with exit code ${exitCode}: ${words}`)
  return JSON.parse(last)
}
