/**
 * Can KVM really run the firmware? A machine without disks is started under KVM; what comes first decides: the
 * firmware's own words, KVM's surrender (QEMU then hangs, and says so over QMP only), QEMU's end, or the deadline.
 */

import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { type SupervisedProcess, spawnSupervised } from '../system/process.ts'
import { Scope } from '../system/scope.ts'
import { openSocketDirectory } from '../system/socket-directory.ts'
import type { Tools } from '../system/tools.ts'
import type { BootOutcome } from './programs.ts'

export interface BootProbeOptions {
  /** `-machine`, firmware and their globals; the rest of the command line is fixed. */
  readonly machineArguments: readonly string[]
  /** Where its socket directory is made; the default is everybody's (system/socket-directory.ts). */
  readonly socketBase?: string
  /** Default 20 000. */
  readonly deadlineMs?: number
}

const DEADLINE_MS = 20_000
const GUEST_MIB = 256
/** What OVMF says on the serial line when it reaches boot device selection. */
const FIRMWARE_SPEAKS = /BdsDxe: [^\r\n\x1b]+|UEFI Interactive Shell/
const SURRENDER = /KVM internal error\. Suberror: \d+/

/** Leaves no process and no file behind, however it ends. */
export async function probeKvmBoot(tools: Tools, options: BootProbeOptions): Promise<BootOutcome> {
  await using scope = new Scope('kvm-boot-probe')
  const directory = await openSocketDirectory(scope, options.socketBase)
  const started = performance.now()
  const elapsed = () => Math.round(performance.now() - started)
  const serial = await listen(scope, join(directory, 's'))
  const monitor = await listen(scope, join(directory, 'q'))
  const qemu = spawnSupervised(scope, tools, {
    name: 'kvm-boot-probe',
    program: 'qemu-system-x86_64',
    args: commandLine(options.machineArguments, serial.path, monitor.path),
  })
  return await Promise.race([
    firmwareWords(serial).then((line): BootOutcome => ({ kind: 'booted', milliseconds: elapsed(), line })),
    stopReason(monitor).then((status) => surrender(qemu, status)),
    qemu.exited.then((): BootOutcome => ({ kind: 'ended', detail: lastLine(qemu) })),
    deadline(scope, options.deadlineMs ?? DEADLINE_MS).then(
      (): BootOutcome => ({ kind: 'silent', milliseconds: elapsed(), detail: 'the firmware said nothing' }),
    ),
  ])
}

function commandLine(machine: readonly string[], serial: string, monitor: string): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-accel', 'kvm', '-cpu', 'host', '-smp', '1', '-m', String(GUEST_MIB)],
    ...machine,
    ...['-chardev', `socket,id=serial,path=${serial}`, '-serial', 'chardev:serial'],
    ...['-chardev', `socket,id=monitor,path=${monitor}`, '-mon', 'chardev=monitor,mode=control'],
  ]
}

interface Line {
  readonly path: string
  /** QEMU's end; never settles when QEMU never connects. */
  readonly connected: Promise<Socket>
}

/** We listen and QEMU connects: no race for a socket that is not there yet. */
async function listen(scope: Scope, path: string): Promise<Line> {
  const server = createServer()
  const sockets = new Set<Socket>()
  scope.defer(path, () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const connected = new Promise<Socket>((resolve) => {
    server.once('connection', (socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      resolve(socket)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return { path, connected }
}

async function firmwareWords(serial: Line): Promise<string> {
  const socket = await serial.connected
  let heard = ''
  for (;;) {
    heard = (heard + (await nextChunk(socket))).slice(-MEMORY)
    const words = FIRMWARE_SPEAKS.exec(heard)
    if (words) return words[0]
  }
}

/** Bytes of serial output that are searched: the message is far shorter. */
const MEMORY = 4096

/** QEMU's run state once the guest was stopped without our asking; a message only QMP carries. */
async function stopReason(monitor: Line): Promise<string> {
  const socket = await monitor.connected
  socket.write('{"execute":"qmp_capabilities"}\n')
  let pending = ''
  for (;;) {
    pending += await nextChunk(socket)
    const lines = pending.split('\n')
    pending = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as {
        readonly event?: string
        readonly return?: { readonly status?: string }
      }
      if (message.event === 'STOP') socket.write('{"execute":"query-status"}\n')
      const status = message.return?.status
      if (status !== undefined && status !== 'running') return status
    }
  }
}

/** The next bytes; pending for ever once the peer has hung up, since its process's end is what counts then. */
function nextChunk(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('data', (bytes: Buffer) => {
      socket.pause()
      resolve(bytes.toString('latin1'))
    })
    socket.resume()
  })
}

/** QEMU explains on stderr before it reports the stop over QMP. */
function surrender(qemu: SupervisedProcess, status: string): BootOutcome {
  const tail = qemu.errorTail()
  const words = SURRENDER.exec(tail)?.[0] ?? lastLine(qemu)
  const cause = /^emulation failure$/m.test(tail) ? ' (emulation failure)' : ''
  return { kind: 'internal-error', detail: `QEMU on stderr: ${words}${cause}; QMP query-status: ${status}` }
}

function lastLine(qemu: SupervisedProcess): string {
  return (
    qemu
      .errorTail()
      .split('\n')
      .findLast((line) => line.trim() !== '') ?? 'without a word'
  )
}

function deadline(scope: Scope, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    scope.defer('deadline', () => clearTimeout(timer))
  })
}
