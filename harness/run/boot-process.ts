/** One QEMU process and its vTPM: what starts them, and what they leave behind. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { writeAsciicast } from '../machine/console/asciicast.ts'
import type { Transcript } from '../machine/console/transcript.ts'
import type { MachineDescription } from '../machine/description.ts'
import { connectUnix } from '../machine/unix-socket.ts'
import type { Machine } from '../machine/vm.ts'
import {
  SWTPM_PROGRAM,
  type Swtpm,
  type SwtpmOptions,
  startSwtpm,
  swtpmArguments,
} from '../machine/vtpm/swtpm.ts'
import { startTpmBus, type TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import { serveTsmPort, type TsmService } from '../platforms/emulated/tsm-port.ts'
import { TSM_PORT_NAME } from '../platforms/emulated/tsm-protocol.ts'
import type { Scope } from '../system/scope.ts'
import type { LabSpec } from './lab-spec.ts'

export interface BootSpec {
  /** Private directory of this QEMU process. */
  readonly directory: string
  readonly description: MachineDescription
  readonly vtpm?: { readonly stateDirectory: string; readonly log: string }
  /** Absent: QEMU and swtpm speak to each other. */
  readonly tpmBus?: TpmBusHost
  /** What answers on the port of an emulated TEE. */
  readonly tsm?: TsmService
}

/** One QEMU process with its vTPM; it serves several boots where the guest resets. */
export interface BootProcess {
  readonly machine: Machine
  readonly vtpm: Swtpm | undefined
  readonly spec: BootSpec
}

/** A guest that made noise is not worth a recording several times as large as the noise. */
const LONGEST_RECORDED = 32 * 1024 * 1024

/** The console as a recording that a terminal player plays. */
export async function record(
  { files }: Transcript,
  {
    directory,
    name,
    startedAt,
  }: { readonly directory: string; readonly name: string; readonly startedAt: Date },
): Promise<void> {
  const { size } = await stat(files.raw)
  if (size <= LONGEST_RECORDED)
    await writeAsciicast(files, join(directory, 'console.cast'), { title: name, startedAt })
}

export function startVtpm(
  { name, spec: { bench, scope } }: { readonly name: string; readonly spec: LabSpec },
  spec: BootSpec,
): Promise<Swtpm> | undefined {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return undefined
  // Its place among the teardowns is taken now, before QEMU's: no guest outlives its vTPM.
  const own = scope.child(`swtpm of ${name}`)
  const { tpmBus: host } = spec
  const options = { name: `swtpm of ${name}`, socket, ...spec.vtpm }
  if (host === undefined) return startSwtpm(own, bench.tools, options)
  return startBehindBus(own, { bench, host, options })
}

interface BusStart {
  readonly bench: LabSpec['bench']
  readonly host: TpmBusHost
  /** As if QEMU connected to it. */
  readonly options: SwtpmOptions
}

async function startBehindBus(own: Scope, { bench, host, options }: BusStart): Promise<Swtpm> {
  const { tools, store, paths, signal } = bench
  const { name, socket } = options
  const behind = { socket: `${socket}.c`, commandSocket: `${socket}.t` }
  const swtpm = await startSwtpm(own, tools, { ...options, ...behind })
  const bus = await startTpmBus(own, tools, {
    ...{ name, store, checkout: paths.checkout, socket, swtpm: behind, host, signal },
  })
  // Nobody else would tell it that QEMU has ended.
  void bus.exited.then(() => swtpm.process.stop())
  return swtpm
}

const PORT_MS = 20_000

/**
 * Answers on the port of an emulated TEE until QEMU ends. The guest has not started yet. A reset breaks the connection,
 * and with it all that the guest that is gone had not read; the next one finds a new one.
 */
export async function serveTsm(
  { name, spec: { emit } }: { readonly name: string; readonly spec: LabSpec },
  { description, tsm }: BootSpec,
  machine: Machine,
): Promise<void> {
  const port = description.ports.find((each) => each.name === TSM_PORT_NAME)
  if (port === undefined || tsm === undefined) return
  const wait = { name: `port ${TSM_PORT_NAME} of ${name}`, timeoutMs: PORT_MS, timeoutCode: 'qmp' } as const
  const connect = () => connectUnix(port.socket, wait)
  const onError = (error: unknown) => {
    // A connection that broke has nothing to tell: QEMU ended, or the guest was reset.
    if (!socket.destroyed)
      emit({ type: 'note', text: `${wait.name}: ${error instanceof Error ? error.message : String(error)}` })
  }
  let socket = await connect()
  const serve = () => void serveTsmPort(socket, tsm, { onError })
  serve()
  const stop = machine.qmp.onEvent(({ name: event }) => {
    if (event !== 'RESET') return
    socket.destroy()
    connect().then((next) => {
      socket = next
      serve()
    }, onError)
  })
  void machine.ended.then(() => {
    stop()
    socket.destroy()
  })
}

/** What a person pastes, in order: swtpm has to be there before QEMU. */
export function commandsOf(
  spec: Pick<BootSpec, 'description'> & {
    readonly vtpm?: { readonly stateDirectory: string; readonly log?: string }
  },
  qemu: readonly string[],
): readonly (readonly string[])[] {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return [qemu]
  return [[SWTPM_PROGRAM, ...swtpmArguments({ name: 'swtpm', socket, ...spec.vtpm })], qemu]
}
