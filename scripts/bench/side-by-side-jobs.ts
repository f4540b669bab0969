/** The two boots that are compared: by the harness, and by hand with the command lines that the harness prints. */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { openSerialPipe } from '../../harness/machine/serial-pipe.ts'
import { connectUnix } from '../../harness/machine/unix-socket.ts'
import { describeEnd } from '../../harness/machine/vtpm/swtpm.ts'
import { type SupervisedProcess, spawnSupervised } from '../../harness/system/process.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Tools } from '../../harness/system/tools.ts'
import type { Job } from './child.ts'
import { cpuSecondsOf } from './cpu-time.ts'
import { driveGuest, type GuestRequest, openWorkbench, type Workbench } from './workbench.ts'

export interface BootTime {
  /** From QEMU's spawn to the line of the open root. */
  readonly seconds: number
  /** Of the harness's own process in that time; 0 where there is none. */
  readonly harnessCpuSeconds: number
  readonly qemuCpuSeconds: number
}

const GUEST = { image: 'debian', vtpm: 'stateful' } as const
const UNLOCKED = /attestbed-initrd: \S+ unlocked /
const TIMEOUT_MS = 600_000

export const bootWithHarness: Job = async (signal, ready): Promise<BootTime> => {
  await using scope = new Scope('boot-with-harness')
  const bench = await openWorkbench(scope, signal)
  const times: BootTime[] = []
  await driveGuest(bench, {
    ...GUEST,
    name: 'with-harness',
    drive: async (lab) => {
      const vm = await lab.vm('guest', { seal: 'offline' })
      await ready()
      const cpu = process.cpuUsage()
      const boot = await vm.boot()
      const { result } = await boot.unlock()
      const unlockedAt = Date.now()
      const { user, system } = process.cpuUsage(cpu)
      if (result !== 'unlocked-by-tpm') throw new Error(`the root did not open: ${result}`)
      const seconds = (unlockedAt - boot.machine.times.spawnedAt) / 1000
      const qemuCpuSeconds = cpuSecondsOf(boot.machine.process)
      times.push({ seconds, harnessCpuSeconds: (user + system) / 1e6, qemuCpuSeconds })
      await boot.cut()
    },
  })
  return only(times)
}

export const bootByHand: Job = async (signal, ready): Promise<BootTime> => {
  await using scope = new Scope('boot-by-hand')
  const bench = await openWorkbench(scope, signal)
  const [mkfifo, swtpm, qemu] = await commandLines(bench, {
    ...GUEST,
    name: 'by-hand',
    printArgv: true,
    drive: async (lab) => {
      const vm = await lab.vm('guest', { seal: 'offline' })
      await vm.boot()
    },
  })
  if (mkfifo === undefined || swtpm === undefined || qemu === undefined)
    throw new Error('no command lines were printed')
  // Made for whoever pastes the lines, and theirs to remove.
  const sockets = dirname(controlSocket(swtpm))
  scope.defer(sockets, () => rm(sockets, { recursive: true, force: true }))
  const [program = '', ...fifos] = mkfifo
  await bench.context.tools.run(program, fifos)
  await ready()
  // Awaited here: the scope closes when the function returns.
  return await bootAndListen(scope, bench.context.tools, { swtpm, qemu, signal })
}

/** What `attestbed run --print-argv` prints: each process in the order to start them. */
async function commandLines(
  bench: Workbench,
  request: GuestRequest,
): Promise<readonly (readonly string[])[]> {
  const printed: (readonly string[])[] = []
  await driveGuest(bench, {
    ...request,
    emit: (event) => {
      if (event.type === 'command-lines') printed.push(...event.commands)
    },
  })
  return printed
}

interface Commands {
  readonly swtpm: readonly string[]
  readonly qemu: readonly string[]
  readonly signal: AbortSignal
}

/** Nothing but a reader that looks for one line: what a person with two terminals would have. */
async function bootAndListen(
  scope: Scope,
  tools: Tools,
  { swtpm, qemu, signal }: Commands,
): Promise<BootTime> {
  const control = controlSocket(swtpm)
  const serial = optionOf(qemu, /id=serial0,path=([^,]*)/)
  const monitor = optionOf(qemu, /id=qmp0,path=([^,]*)/)
  const wait = { name: 'by hand', timeoutMs: TIMEOUT_MS, timeoutCode: 'boot', signal } as const
  const vtpm = start(scope, tools, swtpm)
  await orItsEnd(vtpm, untilThere(control, signal))
  const startedAt = Date.now()
  const process = start(scope, tools, qemu)
  await orItsEnd(
    process,
    connectUnix(monitor, wait).then((socket) => {
      // Who is let in there finds the console open, and needs no more of it.
      socket.destroy()
      return unlocked(scope, openSerialPipe(serial), signal)
    }),
  )
  const seconds = (Date.now() - startedAt) / 1000
  return { seconds, harnessCpuSeconds: 0, qemuCpuSeconds: cpuSecondsOf(process) }
}

const LOOK_MS = 2

async function untilThere(path: string, signal: AbortSignal): Promise<void> {
  while (!existsSync(path)) await sleep(LOOK_MS, undefined, { signal })
}

/** Rejects when the process ends before what is hoped for; the hope ends by itself when its signal is aborted. */
function orItsEnd<Value>(process: SupervisedProcess, hope: Promise<Value>): Promise<Value> {
  hope.catch(() => {})
  const ended = process.exited.then((end) => {
    throw new Error(`${process.name} ${describeEnd(end)}: ${process.errorTail()}`)
  })
  return Promise.race([hope, ended])
}

function start(scope: Scope, tools: Tools, [program = '', ...args]: readonly string[]): SupervisedProcess {
  return spawnSupervised(scope, tools, { name: program, program, args })
}

function controlSocket(swtpm: readonly string[]): string {
  return optionOf(swtpm, /type=unixio,path=([^,]*)/)
}

function optionOf(command: readonly string[], pattern: RegExp): string {
  const found = command.map((word) => pattern.exec(word)?.[1]).find((value) => value !== undefined)
  if (found === undefined) throw new Error(`no ${pattern} in ${command.join(' ')}`)
  return found
}

/** Longer than the line that is looked for. */
const TAIL = 4096

function unlocked(scope: Scope, console: Duplex, signal: AbortSignal): Promise<void> {
  scope.defer('console', () => void console.destroy())
  return new Promise((resolve, reject) => {
    let tail = ''
    console.on('data', (bytes: Buffer) => {
      tail = (tail + bytes.toString('latin1')).slice(-TAIL)
      if (UNLOCKED.test(tail)) resolve()
    })
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    console.once('close', () => reject(new Error(`the console ended: ${tail}`)))
  })
}

function only<Value>(values: readonly Value[]): Value {
  const [value] = values
  if (value === undefined) throw new Error('nothing was measured')
  return value
}
