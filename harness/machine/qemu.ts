/** QEMU's process, started paused and connected: not one byte of the guest is lost. */
import { mkdir, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type AttestbedError, LaunchError } from '../base/errors.ts'
import { type SupervisedProcess, spawnSupervised } from '../system/process.ts'
import { programIn } from '../system/process-table.ts'
import type { Scope } from '../system/scope.ts'
import type { Tools } from '../system/tools.ts'
import { QEMU_PROGRAM, qemuArguments } from './argv.ts'
import { Console } from './console/engine.ts'
import type { Transcript } from './console/transcript.ts'
import type { MachineDescription } from './description.ts'
import { recognizeQemuError } from './qemu-errors.ts'
import { openQmp, type QmpClient } from './qmp/client.ts'
import { isObject } from './qmp/messages.ts'
import { makeSerialFifos, openSerialPipe, serialFifos } from './serial-pipe.ts'
import { connectUnix } from './unix-socket.ts'
import { describeEnd } from './vtpm/swtpm.ts'

export interface StartOptions {
  /** The VM's own directory: QEMU runs there, and `qemu.log` is written anew. */
  readonly directory: string
  /** Written by the console and closed with it. */
  readonly transcript?: Transcript
  /** From QEMU's start to QMP's answers; default 20 000. */
  readonly timeoutMs?: number
  /** What QEMU connects to when it starts. */
  readonly after?: Promise<unknown>
}

export interface Qemu {
  readonly process: SupervisedProcess
  readonly qmp: QmpClient
  readonly console: Console
  /** Host pid of QEMU itself and the ids of its vCPU threads inside the sandbox. */
  readonly vcpus: { readonly pid: number; readonly threadIds: readonly number[] }
  /** Milliseconds since the epoch. */
  readonly spawnedAt: number
}

const DEFAULT_TIMEOUT_MS = 20_000
/** How long a QEMU that closed its sockets is given to say by its exit why. */
const LAST_WORDS_MS = 2000

/**
 * Starts QEMU with `-S` and connects QMP and the serial console. QEMU ends when the scope closes.
 * Throws what QEMU's words stand for (HostError, MaterialError, LaunchError), else LaunchError `qemu-start` with
 * them; TimeoutError `qmp`; LaunchError `socket-path-too-long`.
 */
export async function startQemu(
  scope: Scope,
  tools: Tools,
  description: MachineDescription,
  options: StartOptions,
): Promise<Qemu> {
  const args = qemuArguments(description)
  await mkdir(options.directory, { recursive: true, mode: 0o700 })
  const log = join(options.directory, 'qemu.log')
  await Promise.all([...leftovers(description), log].map((file) => rm(file, { force: true })))
  const opened: Opened = { streams: [] }
  // Registered before QEMU, so closed after it: the last bytes still reach the transcript.
  scope.defer('console', () => closeAll(opened, options.transcript))
  await makeSerialFifos(tools, description.serialPipe)
  const spawnedAt = Date.now()
  const process = spawnSupervised(scope, tools, {
    name: `QEMU of ${description.name}`,
    program: QEMU_PROGRAM,
    args: [...args, '-S'],
    cwd: options.directory,
    stderrFile: log,
    ...(options.after && { after: options.after }),
  })
  return explained(process, async () => {
    const { control, serial } = await connect(process, description, { ...options, opened })
    const { name } = description
    const console = new Console(serial, {
      name,
      ...(options.transcript ? { transcript: options.transcript } : {}),
    })
    opened.console = console
    const qmp = await openQmp(control, { name, timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS })
    const threadIds = vcpuThreads(await qmp.execute('query-cpus-fast'))
    return {
      process,
      qmp,
      console,
      spawnedAt,
      vcpus: { pid: programIn(process.pid) ?? process.pid, threadIds },
    }
  })
}

/** What is open before there is a machine to own it. */
interface Opened {
  readonly streams: Duplex[]
  console?: Console
}

async function closeAll({ streams, console }: Opened, transcript: Transcript | undefined): Promise<void> {
  for (const stream of streams) stream.destroy()
  await (console?.close() ?? transcript?.close())
}

/** What an earlier QEMU that was killed listened on, and its FIFOs: to connect to them would find nobody. */
function leftovers({ qmpSocket, serialPipe, ports }: MachineDescription): string[] {
  return [qmpSocket, ...Object.values(serialFifos(serialPipe)), ...ports.map(({ socket }) => socket)]
}

async function connect(
  process: SupervisedProcess,
  { name, qmpSocket, serialPipe }: MachineDescription,
  { timeoutMs = DEFAULT_TIMEOUT_MS, opened }: StartOptions & { readonly opened: Opened },
): Promise<{ readonly control: Socket; readonly serial: Duplex }> {
  const died = new AbortController()
  process.exited.then((end) => died.abort(startError(process, describeEnd(end))))
  const wait = { timeoutMs, timeoutCode: 'qmp', signal: died.signal } as const
  const control = await connectUnix(qmpSocket, { ...wait, name: `QMP of ${name}` })
  opened.streams.push(control)
  if (control.destroyed) throw new LaunchError(`${name}: QEMU closed its sockets`, { code: 'qmp-closed' })
  const serial = openSerialPipe(serialPipe)
  opened.streams.push(serial)
  return { control, serial }
}

function vcpuThreads(answer: unknown): number[] {
  const vcpus: unknown[] = Array.isArray(answer) ? answer : []
  return vcpus.flatMap((vcpu) => (isObject(vcpu) ? [Number(vcpu['thread-id'])] : []))
}

/** QEMU opens its sockets before it looks at its firmware: a start that fails then shows as a closed connection. */
async function explained<Result>(process: SupervisedProcess, start: () => Promise<Result>): Promise<Result> {
  try {
    return await start()
  } catch (error) {
    if (!(error instanceof LaunchError && error.code === 'qmp-closed')) throw error
    const late = setTimeout(() => void process.stop(), LAST_WORDS_MS)
    const end = await process.exited
    clearTimeout(late)
    throw process.errorTail().trim() !== '' ? startError(process, describeEnd(end)) : error
  }
}

function startError(process: SupervisedProcess, what: string): AttestbedError {
  const words = process.errorTail().trim()
  const known = recognizeQemuError(words)
  if (known) return known
  return new LaunchError(`cannot start ${process.name}: it ${what}\n${words}`.trimEnd(), {
    code: 'qemu-start',
  })
}
