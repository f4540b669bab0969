/** The TPM's bus in the harness's hands: every command of the guest passes here, and every answer. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { LaunchError } from '../../base/errors.ts'
import { type SupervisedProcess, spawnSupervised } from '../../system/process.ts'
import type { Scope } from '../../system/scope.ts'
import type { Store } from '../../system/store.ts'
import type { Tools } from '../../system/tools.ts'
import { connectUnix } from '../unix-socket.ts'
import { describeEnd } from './swtpm.ts'

/** What the host does with a command: another goes on to the TPM, or an answer comes back without it. */
export type BusDecision = { readonly forward: Buffer } | { readonly answer: Buffer }

export interface TpmBusHost {
  /** One whole command, 10 to 4096 bytes. Absent: it goes on as it is. */
  readonly onCommand?: (command: Buffer) => BusDecision
  /** What the guest asked and what it was told, after it was decided about both. */
  readonly onExchange?: (command: Buffer, response: Buffer) => void
}

export interface TpmBusOptions {
  readonly name: string
  readonly store: Store
  /** The checkout, with the source of the program that takes QEMU's descriptor. */
  readonly checkout: string
  /** QEMU connects to it as to swtpm's control socket. */
  readonly socket: string
  /** swtpm's own sockets. */
  readonly swtpm: { readonly socket: string; readonly commandSocket: string }
  readonly host: TpmBusHost
  readonly signal?: AbortSignal | undefined
}

const HEADER_BYTES = 10
const LONGEST = 4096
const TIMEOUT_MS = 10_000
const PROGRAM = 'tpm-bus'

/** Listens where QEMU will look for swtpm. It ends by itself when QEMU does, and with the scope. Throws HostError. */
export async function startTpmBus(
  scope: Scope,
  tools: Tools,
  options: TpmBusOptions,
): Promise<SupervisedProcess> {
  const { name, socket, swtpm, host } = options
  const program = await ensureProgram(options)
  const data = `${socket}.d`
  const server = await listen(data, (guest) => carry(guest, swtpm.commandSocket, host))
  scope.defer(`bus of ${name}`, () => void server.close())
  const process = spawnSupervised(scope, tools, {
    ...{ name: `bus of ${name}`, program, args: [socket, swtpm.socket, data], cwd: dirname(socket) },
  })
  const died = new AbortController()
  process.exited.then((end) => died.abort(ended(process, describeEnd(end))))
  const wait = { timeoutMs: TIMEOUT_MS, timeoutCode: 'swtpm', signal: died.signal } as const
  const probe = await connectUnix(socket, { ...wait, name: `bus of ${name}` })
  probe.destroy()
  return process
}

function ended(process: SupervisedProcess, what: string): LaunchError {
  return new LaunchError(`cannot start ${process.name}: it ${what}\n${process.errorTail()}`.trimEnd(), {
    code: 'swtpm-start',
  })
}

function listen(path: string, onGuest: (guest: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(onGuest)
    server.once('error', reject)
    server.listen(path, () => resolve(server))
  })
}

/** One command at a time, as a TPM takes them; ends with either end. */
async function carry(guest: Socket, commandSocket: string, host: TpmBusHost): Promise<void> {
  guest.on('error', () => {})
  const wait = { name: 'swtpm', timeoutMs: TIMEOUT_MS, timeoutCode: 'swtpm' } as const
  const tpm = await connectUnix(commandSocket, wait).catch(() => undefined)
  if (tpm === undefined) return void guest.destroy()
  tpm.once('close', () => guest.destroy())
  guest.once('close', () => tpm.destroy())
  try {
    const answers = framesOf(tpm)
    for await (const command of framesOf(guest)) {
      const decision = host.onCommand?.(command) ?? { forward: command }
      const response = 'answer' in decision ? decision.answer : await ask(tpm, answers, decision.forward)
      if (response === undefined) return
      host.onExchange?.(command, response)
      guest.write(response)
    }
  } catch {
    // Either end broke off: QEMU has ended.
  } finally {
    guest.destroy()
    tpm.destroy()
  }
}

async function ask(
  tpm: Socket,
  answers: AsyncGenerator<Buffer>,
  command: Buffer,
): Promise<Buffer | undefined> {
  tpm.write(command)
  return (await answers.next()).value
}

/** Commands or responses: their size is in bytes 2 to 5 (TPM 2.0 Library, part 1, 18). Ends where that cannot be. */
async function* framesOf(socket: Socket): AsyncGenerator<Buffer> {
  let kept = Buffer.alloc(0)
  for await (const chunk of socket) {
    kept = Buffer.concat([kept, chunk as Buffer])
    while (kept.length >= HEADER_BYTES) {
      const size = kept.readUInt32BE(2)
      if (size < HEADER_BYTES || size > LONGEST) return
      if (kept.length < size) break
      yield kept.subarray(0, size)
      kept = kept.subarray(size)
    }
  }
}

/** It runs beside programs of any C library. */
const FLAGS: readonly string[] = ['-std=gnu11', '-O2', '-static']

async function ensureProgram({ store, checkout, signal }: TpmBusOptions): Promise<string> {
  const source = join(checkout, 'harness/machine/vtpm/bus/tpm-bus.c')
  const key = createHash('sha256')
    .update(FLAGS.join('\n'))
    .update(await readFile(source))
  const directory = await store.ensure('tpm-bus', key.digest('hex').slice(0, 32), async (into) => {
    const args = [...FLAGS, '-o', join(into, PROGRAM), source]
    const code = {
      compiler: 'gcc',
      args,
      purpose: 'the TPM bus',
      paths: [checkout, store.directory],
    } as const
    const { compileNative } = await import('../../system/setup/compiler.ts')
    const progress = { step: () => {}, packages: () => {} }
    await compileNative(code, {
      ...{ environment: process.env, progress, signal: signal ?? new AbortController().signal },
    })
  })
  return join(directory, PROGRAM)
}
