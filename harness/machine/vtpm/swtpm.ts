/** swtpm: the vTPM's process, ready to be connected to before QEMU starts. */
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { LaunchError, MaterialError } from '../../base/errors.ts'
import { type ProcessEnd, type SupervisedProcess, spawnSupervised } from '../../system/process.ts'
import type { Scope } from '../../system/scope.ts'
import type { Tools } from '../../system/tools.ts'
import { socketPath } from '../options.ts'
import { connectUnix } from '../unix-socket.ts'
import { askInit } from './control.ts'
import { swtpmPath } from './paths.ts'
import { hasState, refuseRunning } from './state.ts'

export const SWTPM_PROGRAM = 'swtpm'

export interface SwtpmOptions {
  /** In messages: `swtpm of vm1`. */
  readonly name: string
  readonly stateDirectory: string
  /** The control socket, which QEMU connects to. */
  readonly socket: string
  /**
   * Every command and response in hex, to be read by `readTpmCommandLog`. It holds what the guest sent in clear,
   * secrets included, where the guest did not encrypt its session: never put it in a bundle. Mode 0600. It costs some
   * 10 ms of CPU and 90 KB a boot.
   */
  readonly log?: string
  /** A socket for TPM commands of the harness itself, instead of QEMU's. The first has to be TPM2_Startup. */
  readonly commandSocket?: string
  readonly timeoutMs?: number
}

export interface Swtpm {
  readonly name: string
  readonly socket: string
  readonly stateDirectory: string
  readonly process: SupervisedProcess
  /**
   * Resolves when swtpm has ended and its state may be used again. It ends by itself when QEMU does: await this
   * before the state's next use.
   */
  readonly released: Promise<ProcessEnd>
}

const DEFAULT_TIMEOUT_MS = 10_000
/** The level from which swtpm logs commands and responses in full. */
const LOG_LEVEL = 20
const STATE_BUSY = /Could not lock|lock.*Resource temporarily unavailable/i

/** Arguments of `swtpm`. Pure. Throws LaunchError `swtpm-start` for a comma in a path, `socket-path-too-long`. */
export function swtpmArguments(options: SwtpmOptions): string[] {
  const control = swtpmPath('the control socket', socketPath('the vTPM', options.socket))
  const state = swtpmPath('the vTPM state directory', options.stateDirectory)
  return [
    ...['socket', '--tpm2', '--tpmstate', `dir=${state},mode=0600`],
    ...['--ctrl', `type=unixio,path=${control},mode=0600`],
    ...(options.commandSocket === undefined ? ['--terminate'] : commandChannel(options.commandSocket)),
    ...(options.log === undefined
      ? []
      : ['--log', `file=${swtpmPath('the log', options.log)},level=${LOG_LEVEL}`]),
  ]
}

function commandChannel(path: string): string[] {
  const socket = swtpmPath('the command socket', socketPath('TPM commands', path))
  return ['--server', `type=unixio,path=${socket},mode=0600`]
}

/**
 * Starts swtpm and waits until it answers on its control socket. It lives until its client ends, it is stopped, or
 * the scope closes. Throws MaterialError `in-use` while another swtpm has the state, `missing` without one,
 * LaunchError `swtpm-start` with its last words, TimeoutError `swtpm`.
 */
export async function startSwtpm(scope: Scope, tools: Tools, options: SwtpmOptions): Promise<Swtpm> {
  const args = swtpmArguments(options)
  await requireState(options)
  // A socket file left by a killed swtpm would make the new one fail to bind.
  await rm(options.socket, { force: true })
  const process = spawnSupervised(scope, tools, {
    name: options.name,
    program: SWTPM_PROGRAM,
    args,
    cwd: dirname(options.socket),
  })
  await untilReady(process, options)
  const { name, socket, stateDirectory } = options
  return { name, socket, stateDirectory, process, released: process.exited }
}

/** swtpm itself would make a new TPM where the state is lost, and the VM's secrets would be gone without a word. */
async function requireState({ name, stateDirectory }: SwtpmOptions): Promise<void> {
  await refuseRunning(stateDirectory, 'start')
  if (await hasState(stateDirectory)) return
  throw new MaterialError(`cannot start ${name}: there is no vTPM state in ${stateDirectory}`, {
    code: 'missing',
    hint: 'Make one with createVtpmState',
  })
}

async function untilReady(process: SupervisedProcess, options: SwtpmOptions): Promise<void> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const died = new AbortController()
  process.exited.then((end) => died.abort(startFailed(process, options, describeEnd(end))))
  const wait = { name: options.name, timeoutMs, timeoutCode: 'swtpm', signal: died.signal } as const
  const socket = await connectUnix(options.socket, wait)
  try {
    await askInit(socket, timeoutMs)
  } catch (error) {
    // Its last words say more than its result code.
    throw died.signal.aborted ? died.signal.reason : refused(process, options, error)
  } finally {
    socket.destroy()
  }
}

function refused(process: SupervisedProcess, options: SwtpmOptions, error: unknown): unknown {
  return error instanceof LaunchError ? startFailed(process, options, 'refused to start the TPM') : error
}

function startFailed(process: SupervisedProcess, options: SwtpmOptions, what: string): Error {
  const words = process.errorTail().trim()
  if (STATE_BUSY.test(words))
    return new MaterialError(
      `cannot start ${options.name}: another swtpm has the state ${options.stateDirectory}`,
      {
        code: 'in-use',
        hint: 'Wait for the other VM to end, or give this VM a state of its own',
      },
    )
  return new LaunchError(`cannot start ${options.name}: it ${what}\n${words}`.trimEnd(), {
    code: 'swtpm-start',
  })
}

/** `ended with exit code 1`, `was ended by SIGKILL`. */
export function describeEnd(end: ProcessEnd): string {
  if (end.signal !== undefined) return `was ended by ${end.signal}`
  if (end.exitCode !== undefined) return `ended with exit code ${end.exitCode}`
  return 'could not be started'
}
