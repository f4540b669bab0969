/**
 * The storage root key (SRK) of a vTPM that no VM has started yet, so that a disk can be sealed to the VM before its
 * first boot: `systemd-cryptenroll --tpm2-device-key=`. A few TPM commands, spoken by the harness itself: one
 * process start instead of the five of tpm2-tools.
 *
 * Section numbers are those of the TPM 2.0 Library Specification, part 3 "Commands".
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { LaunchError } from '../../base/errors.ts'
import { Scope } from '../../system/scope.ts'
import type { Tools } from '../../system/tools.ts'
import { connectUnix } from '../unix-socket.ts'
import { askShutdown, exchange } from './control.ts'
import { startSwtpm } from './swtpm.ts'

/** Where the SRK lives by convention (TCG EK Credential Profile, TCG TPM v2.0 Provisioning Guidance). */
const SRK_HANDLE = 0x81000001

const ST_NO_SESSIONS = 0x8001
const ST_SESSIONS = 0x8002
const HEADER_BYTES = 10
const CC_EVICT_CONTROL = 0x120
const CC_CREATE_PRIMARY = 0x131
const CC_STARTUP = 0x144
const CC_SHUTDOWN = 0x145
/** TPM_SU_CLEAR: a start after power-on, an end without saved state. */
const SU_CLEAR = 0
const RH_OWNER = 0x40000001
/** Password authorization with an empty password. */
const RS_PW = 0x40000009

const ALG_AES = 0x0006
const ALG_SHA256 = 0x000b
const ALG_NULL = 0x0010
const ALG_ECC = 0x0023
const ALG_CFB = 0x0043
const ECC_NIST_P256 = 0x0003
const KEY_BITS = 128

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt. */
const SRK_ATTRIBUTES = 0x00000002 | 0x10 | 0x20 | 0x40 | 0x400 | 0x10000 | 0x20000

const TIMEOUT_MS = 20_000

/**
 * Persists the ECC P-256 SRK that systemd would make itself, at 0x81000001 of the state in `stateDirectory`, and
 * gives its public area as TPM2B_PUBLIC (92 bytes). About 0.1 s. `socketDirectory` holds the sockets meanwhile.
 * Throws as `startSwtpm` does, and LaunchError `swtpm-start` with the TPM's response code.
 */
export async function provisionSrk(
  tools: Tools,
  stateDirectory: string,
  socketDirectory: string,
): Promise<Buffer> {
  const sockets = await mkdtemp(join(socketDirectory, 'srk-'))
  await using scope = new Scope('provision SRK')
  scope.defer('socket directory', () => rm(sockets, { recursive: true, force: true }))
  const socket = join(sockets, 'control')
  const commandSocket = join(sockets, 'command')
  const swtpm = await startSwtpm(scope, tools, { name: 'swtpm', stateDirectory, socket, commandSocket })
  const tpm = await connectUnix(commandSocket, { name: 'swtpm', timeoutMs: TIMEOUT_MS, timeoutCode: 'swtpm' })
  scope.defer('TPM connection', () => void tpm.destroy())
  const srk = await persistSrk(tpm)
  const control = await connectUnix(socket, { name: 'swtpm', timeoutMs: TIMEOUT_MS, timeoutCode: 'swtpm' })
  scope.defer('control connection', () => void control.destroy())
  await askShutdown(control, TIMEOUT_MS)
  await swtpm.released
  return srk
}

async function persistSrk(tpm: Socket): Promise<Buffer> {
  await transmit(tpm, startOrStop(CC_STARTUP))
  const created = new ByteReader(await transmit(tpm, createPrimary()), {
    what: 'TPM2_CreatePrimary response',
  })
  const handle = created.u32be('objectHandle')
  created.skip(4, 'parameterSize')
  const publicArea = created.bytes(created.u16be('outPublic.size'), 'outPublic')
  await transmit(tpm, evictControl(handle))
  // An orderly shutdown: without it the TPM counts a failure at its next start.
  await transmit(tpm, startOrStop(CC_SHUTDOWN))
  const sized = new ByteWriter({ what: 'TPM2B_PUBLIC' }).u16be(publicArea.length, 'size')
  return sized.bytes(publicArea, 'publicArea').finish()
}

/** 9.3 TPM2_Startup, 9.4 TPM2_Shutdown. */
function startOrStop(code: number): Buffer {
  return command(code, ST_NO_SESSIONS, new ByteWriter({ what: 'TPM_SU' }).u16be(SU_CLEAR, 'type'))
}

/** 24.1 TPM2_CreatePrimary with the SRK template, in the owner hierarchy. */
function createPrimary(): Buffer {
  const template = srkTemplate()
  const body = new ByteWriter({ what: 'TPM2_CreatePrimary' }).u32be(RH_OWNER, 'primaryHandle')
  emptyPassword(body)
  body.u16be(4, 'inSensitive').u16be(0, 'userAuth').u16be(0, 'data')
  body.u16be(template.length, 'inPublic').bytes(template, 'inPublic')
  body.u16be(0, 'outsideInfo').u32be(0, 'creationPCR')
  return command(CC_CREATE_PRIMARY, ST_SESSIONS, body)
}

/** 28.5 TPM2_EvictControl: makes the object persistent. */
function evictControl(handle: number): Buffer {
  const body = new ByteWriter({ what: 'TPM2_EvictControl' })
    .u32be(RH_OWNER, 'auth')
    .u32be(handle, 'objectHandle')
  emptyPassword(body)
  return command(CC_EVICT_CONTROL, ST_SESSIONS, body.u32be(SRK_HANDLE, 'persistentHandle'))
}

/** TPMT_PUBLIC of the SRK: the template that systemd and tpm2-tools use, so that all three mean the same key. */
function srkTemplate(): Buffer {
  return new ByteWriter({ what: 'SRK template' })
    .u16be(ALG_ECC, 'type')
    .u16be(ALG_SHA256, 'nameAlg')
    .u32be(SRK_ATTRIBUTES, 'objectAttributes')
    .u16be(0, 'authPolicy')
    .u16be(ALG_AES, 'symmetric.algorithm')
    .u16be(KEY_BITS, 'symmetric.keyBits')
    .u16be(ALG_CFB, 'symmetric.mode')
    .u16be(ALG_NULL, 'scheme')
    .u16be(ECC_NIST_P256, 'curveID')
    .u16be(ALG_NULL, 'kdf')
    .u16be(0, 'unique.x')
    .u16be(0, 'unique.y')
    .finish()
}

function emptyPassword(body: ByteWriter): void {
  body.u32be(9, 'authorizationSize').u32be(RS_PW, 'sessionHandle')
  body.u16be(0, 'nonceCaller').u8(0, 'sessionAttributes').u16be(0, 'hmac')
}

function command(code: number, tag: number, body: ByteWriter): Buffer {
  const header = new ByteWriter({ what: 'TPM command' })
  header
    .u16be(tag, 'tag')
    .u32be(HEADER_BYTES + body.length, 'commandSize')
    .u32be(code, 'commandCode')
  return Buffer.concat([header.finish(), body.finish()])
}

/** The response after its header. */
async function transmit(tpm: Socket, request: Buffer): Promise<Buffer> {
  const isComplete = (answer: Buffer) =>
    answer.length >= HEADER_BYTES && answer.length >= answer.readUInt32BE(2)
  const response = await exchange(tpm, request, { timeoutMs: TIMEOUT_MS, isComplete })
  const responseCode = response.readUInt32BE(6)
  if (responseCode === 0) return response.subarray(HEADER_BYTES)
  const code = `0x${request.readUInt32BE(6).toString(16)}`
  throw new LaunchError(
    `cannot make the SRK: the TPM answered command ${code} with response code 0x${responseCode.toString(16)}`,
    { code: 'swtpm-start' },
  )
}
