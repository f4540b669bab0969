/**
 * The TPM of a VM that is off, for programs of the host: started, used and shut down in order, as by a VM that boots.
 * Section numbers are those of the TPM 2.0 Library Specification, part 3 "Commands".
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { ByteWriter } from '../../base/bytes.ts'
import { LaunchError } from '../../base/errors.ts'
import { Scope } from '../../system/scope.ts'
import type { Tools } from '../../system/tools.ts'
import { connectUnix } from '../unix-socket.ts'
import { askShutdown, exchange } from './control.ts'
import { startSwtpm } from './swtpm.ts'

const ST_NO_SESSIONS = 0x8001
const HEADER_BYTES = 10
const CC_STARTUP = 0x144
const CC_SHUTDOWN = 0x145
/** TPM_SU_CLEAR: a start after power-on, an end without saved state. */
const SU_CLEAR = 0
const TIMEOUT_MS = 20_000

export interface OfflineTpm {
  readonly stateDirectory: string
  /** Holds the sockets meanwhile. */
  readonly socketDirectory: string
}

/**
 * Calls `use` with the socket that takes the TPM's commands from one client after the other. Throws as `startSwtpm` and
 * `use` do, and LaunchError `swtpm-start` with the TPM's response code.
 */
export async function withOfflineTpm<Result>(
  tools: Tools,
  { stateDirectory, socketDirectory }: OfflineTpm,
  use: (commandSocket: string) => Promise<Result>,
): Promise<Result> {
  const sockets = await mkdtemp(join(socketDirectory, 'offline-'))
  await using scope = new Scope('offline TPM')
  scope.defer('socket directory', () => rm(sockets, { recursive: true, force: true }))
  const commandSocket = join(sockets, 'tpm')
  // Where tpm2-tss looks for it (tss2-tcti-swtpm(7)).
  const socket = `${commandSocket}.ctrl`
  const swtpm = await startSwtpm(scope, tools, { name: 'swtpm', stateDirectory, socket, commandSocket })
  await withTpmConnection(commandSocket, (tpm) => transmit(tpm, startOrStop(CC_STARTUP)))
  const result = await use(commandSocket)
  // An orderly shutdown: without it the TPM counts a failure at its next start.
  await withTpmConnection(commandSocket, (tpm) => transmit(tpm, startOrStop(CC_SHUTDOWN)))
  await withTpmConnection(socket, (control) => askShutdown(control, TIMEOUT_MS))
  await swtpm.released
  return result
}

/** A connection for as long as `use` runs. Throws TimeoutError `swtpm`. */
export async function withTpmConnection<Result>(
  path: string,
  use: (socket: Socket) => Promise<Result>,
): Promise<Result> {
  const socket = await connectUnix(path, { name: 'swtpm', timeoutMs: TIMEOUT_MS, timeoutCode: 'swtpm' })
  try {
    return await use(socket)
  } finally {
    socket.destroy()
  }
}

/** 9.3 TPM2_Startup, 9.4 TPM2_Shutdown. */
function startOrStop(code: number): Buffer {
  return tpmCommand(code, ST_NO_SESSIONS, new ByteWriter({ what: 'TPM_SU' }).u16be(SU_CLEAR, 'type'))
}

export function tpmCommand(code: number, tag: number, body: ByteWriter): Buffer {
  const header = new ByteWriter({ what: 'TPM command' })
  header
    .u16be(tag, 'tag')
    .u32be(HEADER_BYTES + body.length, 'commandSize')
    .u32be(code, 'commandCode')
  return Buffer.concat([header.finish(), body.finish()])
}

/** The response after its header. Throws LaunchError `swtpm-start` for any other response code than success. */
export async function transmit(tpm: Socket, request: Buffer): Promise<Buffer> {
  const isComplete = (answer: Buffer) =>
    answer.length >= HEADER_BYTES && answer.length >= answer.readUInt32BE(2)
  const response = await exchange(tpm, request, { timeoutMs: TIMEOUT_MS, isComplete })
  const responseCode = response.readUInt32BE(6)
  if (responseCode === 0) return response.subarray(HEADER_BYTES)
  const code = `0x${request.readUInt32BE(6).toString(16)}`
  throw new LaunchError(
    `cannot prepare the vTPM: it answered command ${code} with response code 0x${responseCode.toString(16)}`,
    { code: 'swtpm-start' },
  )
}
