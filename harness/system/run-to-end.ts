/**
 * Runs one command to its end. On Node's own spawn: the hundred modules of a library for it cost every `attestbed run`
 * a tenth of a second before its first QEMU.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { openGate } from './gate.ts'
import type { ToolCommand } from './tools.ts'

export interface RunToEndOptions {
  readonly input: Uint8Array | string | undefined
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

export interface FinishedRun {
  readonly stdout: Buffer
  readonly stderr: Buffer
  /** Undefined when a signal ended it or it could not be started. */
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  readonly timedOut: boolean
  /** Why it could not be started. */
  readonly cause: unknown
}

/** `command` waits behind a gate on descriptor 3 (gate.ts). Never rejects; killed when late or aborted. */
export async function runToEnd(command: ToolCommand, options: RunToEndOptions): Promise<FinishedRun> {
  const { input, timeoutMs, signal } = options
  let timedOut = false
  let child: ChildProcess
  try {
    child = spawn(command.file, command.args, {
      env: command.environment,
      // Ctrl-C is the harness's to handle: it aborts `signal` and cleans up.
      detached: true,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'pipe'],
    })
  } catch (cause) {
    return unstarted(cause)
  }
  // SIGTERM would end the sandbox no more gently: what is inside is killed with it.
  const kill = (): void => void child.kill('SIGKILL')
  const late = setTimeout(() => {
    timedOut = true
    kill()
  }, timeoutMs)
  signal?.addEventListener('abort', kill, { once: true })
  if (signal?.aborted) kill()
  try {
    openGate(child)
    const output = { stdout: collect(child.stdout), stderr: collect(child.stderr) }
    // A program may end without having read all of its input.
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
    const end = await endOf(child)
    return { ...end, timedOut, stdout: Buffer.concat(output.stdout), stderr: Buffer.concat(output.stderr) }
  } finally {
    clearTimeout(late)
    signal?.removeEventListener('abort', kill)
  }
}

function unstarted(cause: unknown): FinishedRun {
  const nothing = Buffer.alloc(0)
  return { stdout: nothing, stderr: nothing, exitCode: undefined, signal: undefined, timedOut: false, cause }
}

function collect(stream: NodeJS.ReadableStream | null): Buffer[] {
  const chunks: Buffer[] = []
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  return chunks
}

/** When it has ended and all that it said has been read. */
function endOf(child: ChildProcess): Promise<Pick<FinishedRun, 'exitCode' | 'signal' | 'cause'>> {
  return new Promise((resolve) => {
    child.once('error', (cause) => {
      if (child.pid === undefined) resolve({ exitCode: undefined, signal: undefined, cause })
    })
    child.once('close', (code, signal) =>
      resolve({ exitCode: code ?? undefined, signal: signal ?? undefined, cause: undefined }),
    )
  })
}
