/**
 * The storage root key (SRK) of a vTPM that no VM has started yet, so that a disk can be sealed to the VM before its
 * first boot: `systemd-cryptenroll --tpm2-device-key=`. A few TPM commands, spoken by the harness itself: one
 * process start instead of the five of tpm2-tools.
 *
 * Section numbers are those of the TPM 2.0 Library Specification, part 3 "Commands".
 */
import type { Socket } from 'node:net'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import type { Tools } from '../../system/tools.ts'
import { tpmCommand, transmit, withOfflineTpm, withTpmConnection } from './offline.ts'

/** Where the SRK lives by convention (TCG EK Credential Profile, TCG TPM v2.0 Provisioning Guidance). */
const SRK_HANDLE = 0x81000001

const ST_SESSIONS = 0x8002
const CC_EVICT_CONTROL = 0x120
const CC_CREATE_PRIMARY = 0x131
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

/**
 * Persists the ECC P-256 SRK that systemd would make itself, at 0x81000001 of the state in `stateDirectory`, and
 * gives its public area as TPM2B_PUBLIC (92 bytes). About 0.1 s. `socketDirectory` holds the sockets meanwhile.
 * Throws as `withOfflineTpm` does.
 */
export async function provisionSrk(
  tools: Tools,
  stateDirectory: string,
  socketDirectory: string,
): Promise<Buffer> {
  const offline = { stateDirectory, socketDirectory }
  return withOfflineTpm(tools, offline, (commands) => withTpmConnection(commands, persistSrk))
}

async function persistSrk(tpm: Socket): Promise<Buffer> {
  const created = new ByteReader(await transmit(tpm, createPrimary()), {
    what: 'TPM2_CreatePrimary response',
  })
  const handle = created.u32be('objectHandle')
  created.skip(4, 'parameterSize')
  const publicArea = created.bytes(created.u16be('outPublic.size'), 'outPublic')
  await transmit(tpm, evictControl(handle))
  const sized = new ByteWriter({ what: 'TPM2B_PUBLIC' }).u16be(publicArea.length, 'size')
  return sized.bytes(publicArea, 'publicArea').finish()
}

/** 24.1 TPM2_CreatePrimary with the SRK template, in the owner hierarchy. */
function createPrimary(): Buffer {
  const template = srkTemplate()
  const body = new ByteWriter({ what: 'TPM2_CreatePrimary' }).u32be(RH_OWNER, 'primaryHandle')
  emptyPassword(body)
  body.u16be(4, 'inSensitive').u16be(0, 'userAuth').u16be(0, 'data')
  body.u16be(template.length, 'inPublic').bytes(template, 'inPublic')
  body.u16be(0, 'outsideInfo').u32be(0, 'creationPCR')
  return tpmCommand(CC_CREATE_PRIMARY, ST_SESSIONS, body)
}

/** 28.5 TPM2_EvictControl: makes the object persistent. */
function evictControl(handle: number): Buffer {
  const body = new ByteWriter({ what: 'TPM2_EvictControl' })
    .u32be(RH_OWNER, 'auth')
    .u32be(handle, 'objectHandle')
  emptyPassword(body)
  return tpmCommand(CC_EVICT_CONTROL, ST_SESSIONS, body.u32be(SRK_HANDLE, 'persistentHandle'))
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
