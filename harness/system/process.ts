/** Long-lived children (QEMU, swtpm) of which nothing outlives the harness, however it dies. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, unlinkSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { escapeControls } from '../base/text.ts'
import { readTailOf } from './files.ts'
import { gated, openGate } from './gate.ts'
import { programIn } from './process-table.ts'
import type { Scope } from './scope.ts'
import type { Tools } from './tools.ts'

export interface ProcessEnd {
  /** Undefined when a signal ended the program or it could not be started. */
  readonly exitCode: number | undefined
  /** `SIGSEGV` and the like, also when the program died of it inside its sandbox. */
  readonly signal: string | undefined
}

export interface ProcessSpec {
  /** In messages: `swtpm of vm1`. */
  readonly name: string
  readonly program: string
  readonly args: readonly string[]
  readonly cwd?: string
  readonly environment?: Readonly<Record<string, string>>
  /** Where stdout and stderr are appended to (0600); the default is an unnamed temporary file. */
  readonly stderrFile?: string
  /** What the program needs: its sandbox is made meanwhile, and it never runs where this is rejected. */
  readonly after?: Promise<unknown>
}

export interface SupervisedProcess {
  readonly name: string
  /** Host pid of the outermost process (the sandbox), > 1; -1 if it could not be started. */
  readonly pid: number
  /** Never rejects; resolves when the process exits, whoever still holds its stdio. */
  readonly exited: Promise<ProcessEnd>
  readonly running: boolean
  /** The last 8 KiB of stderr, control characters escaped but for line feeds. */
  errorTail(): string
  /** SIGTERM to the program, SIGKILL to the sandbox `graceMs` (default 2 000) later; idempotent. */
  stop(options?: { readonly graceMs?: number }): Promise<ProcessEnd>
}

const KILLED: ProcessEnd = { exitCode: undefined, signal: 'SIGKILL' }
const ERROR_TAIL_BYTES = 8192
const DEFAULT_GRACE_MS = 2000
/** How much longer a sandbox may take to end than the program in it. */
const SANDBOX_GRACE_MS = 1000

/**
 * Starts a program that lives until it ends, is stopped, or the scope is closed. Must be called on the main thread:
 * the kernel ties the child's life to the thread that started it. A program that cannot be started gives a process
 * whose `exited` has neither exit code nor signal, and the reason in `errorTail()`.
 */
export function spawnSupervised(scope: Scope, tools: Tools, spec: ProcessSpec): SupervisedProcess {
  if (!isMainThread) throw new Error(`cannot start ${spec.name}: not on the main thread`)
  const holder: { process?: Supervised } = {}
  scope.defer(spec.name, async () => {
    await holder.process?.stop()
  })
  const log = openLog(spec.stderrFile)
  const { program, args } = gated(spec.program, spec.args)
  const command = tools.command(program, args, spec)
  const child = spawn(command.file, command.args, {
    env: command.environment,
    stdio: ['ignore', log, log, 'pipe'],
    // Its own session: a Ctrl-C in the terminal reaches the harness alone, which then stops things in order.
    detached: true,
  })
  openGate(child, spec.after)
  holder.process = new Supervised(spec.name, child, log)
  return holder.process
}

class Supervised implements SupervisedProcess {
  readonly name: string
  readonly pid: number
  readonly exited: Promise<ProcessEnd>
  readonly #child: ChildProcess
  #log: number | undefined
  #tail = ''
  #running = true
  /** By us: some unshare(1) hide that it was a signal. */
  #killed = false
  #stopping: Promise<ProcessEnd> | undefined

  constructor(name: string, child: ChildProcess, log: number) {
    this.name = name
    this.pid = child.pid ?? -1
    this.#child = child
    this.#log = log
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(this.#ended(this.#killed ? KILLED : endOf(code, signal))))
      child.once('error', (error) => {
        if (child.pid === undefined)
          resolve(this.#ended({ exitCode: undefined, signal: undefined }, error.message))
      })
    })
  }

  get running(): boolean {
    return this.#running
  }

  errorTail(): string {
    if (this.#log === undefined) return this.#tail
    const bytes = readTailOf(this.#log, ERROR_TAIL_BYTES)
    return bytes
      .toString('utf8')
      .split('\n')
      .map((line) => escapeControls(line))
      .join('\n')
  }

  stop(options: { readonly graceMs?: number } = {}): Promise<ProcessEnd> {
    this.#stopping ??= this.#stop(options.graceMs ?? DEFAULT_GRACE_MS)
    return this.#stopping
  }

  async #stop(graceMs: number): Promise<ProcessEnd> {
    if (!this.#running) return this.exited
    this.#signal('SIGTERM')
    const kill = setTimeout(() => this.#signal('SIGKILL'), graceMs)
    const killSandbox = setTimeout(() => this.#child.kill('SIGKILL'), graceMs + SANDBOX_GRACE_MS)
    try {
      return await this.exited
    } finally {
      clearTimeout(kill)
      clearTimeout(killSandbox)
    }
  }

  /**
   * To the program rather than to the sandbox around it: when the sandbox then ends by itself, the program is known
   * to be gone (and its state files free), which the death of the sandbox alone does not say.
   */
  #signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#killed ||= signal === 'SIGKILL'
    const program = this.pid > 1 ? programIn(this.pid) : undefined
    if (program !== undefined && sendSignal(program, signal)) return
    this.#killed = true
    this.#child.kill('SIGKILL')
  }

  #ended(end: ProcessEnd, reason?: string): ProcessEnd {
    this.#running = false
    this.#tail = reason ?? this.errorTail()
    if (this.#log !== undefined) closeSync(this.#log)
    this.#log = undefined
    return end
  }
}

/** Opened before the start, so that nothing that the program says is lost in a pipe when it dies. */
function openLog(file: string | undefined): number {
  if (file !== undefined) return openSync(file, 'a+', 0o600)
  const unnamed = join(tmpdir(), `attestbed-${randomBytes(8).toString('hex')}.log`)
  const descriptor = openSync(unnamed, 'ax+', 0o600)
  unlinkSync(unnamed)
  return descriptor
}

/** The sandbox reports the death of its program by a signal as 128 + the signal's number, as shells do. */
function endOf(code: number | null, signal: string | null): ProcessEnd {
  const number = (code ?? 0) - 128
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0]
  if (name) return { exitCode: undefined, signal: name }
  return { exitCode: code ?? undefined, signal: signal ?? undefined }
}

/** False when the process is gone. */
function sendSignal(pid: number, signal: 'SIGTERM' | 'SIGKILL'): boolean {
  if (pid <= 1) return false
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}
