/**
 * SEV-SNP: the launch digest of recorded pages (SEV Secure Nested Paging Firmware ABI, 8.17.2, table "PAGE_INFO").
 * Written apart from harness/measure, and to stay so: shared page hashing would make both wrong together.
 */
import { hash } from 'node:crypto'
import { ByteReader } from '../base/bytes.ts'
import { badLaunch } from './bad-launch.ts'
import { hexadecimal, hexBytes, type Launch, PAGE_SIZE, type RecordedPages, VMSA_GPA } from './launch.ts'
import type { HandedMemory, LaunchCommand, Recording } from './recording.ts'
import { Vcpus } from './vcpus.ts'
import { buildVmsa } from './vmsa.ts'

const INIT2 = 22
const START = 100
const UPDATE = 101
const FINISH = 102

/** KVM_SEV_SNP_PAGE_TYPE_*; the values are the firmware's own. Only the first two are measured with their contents. */
const PAGE_TYPES: Readonly<Record<number, string>> = {
  ...{ 1: 'normal', 2: 'vmsa', 3: 'zero', 4: 'unmeasured', 5: 'secrets', 6: 'cpuid' },
}
const VMSA = 2
const LAST_WITH_CONTENTS = 2

/** SEV_FEATURES bit 0: the kernel sets it in every SNP guest's VMSA. */
const SNP_ACTIVE = 1n

/** Throws FormatError for a stream that is no whole launch. */
export function snpLaunch(recording: Recording): Launch {
  const vcpus = new Vcpus(recording.vcpus)
  const pages: RecordedPages[] = []
  const digest = new LaunchDigest()
  let features = SNP_ACTIVE
  let fields: Record<string, string> = {}
  const blocks: HandedMemory[] = []
  for (const step of recording.steps) {
    if (step.kind === 'state') vcpus.set(step)
    else if (step.kind === 'memory' && step.command === UPDATE) pages.push(update(digest, step))
    else if (step.kind === 'memory' && step.command === FINISH) blocks.push(step)
    else if (step.kind === 'command' && step.id === INIT2) features |= readFeatures(step)
    else if (step.kind === 'command' && step.id === START) fields = { ...fields, ...startFields(step) }
    else if (step.kind === 'command' && step.id === FINISH) {
      for (const state of vcpus.states) {
        const contents = buildVmsa(state, { features, floatingPoint: true })
        digest.update(VMSA, VMSA_GPA, contents)
        pages.push({ gpa: VMSA_GPA, type: 'vmsa', contents })
      }
      fields = { ...fields, ...finishFields(step), ...blockFields(blocks) }
      return { technology: 'sev-snp', digest: digest.value, pages, fields }
    } else throw badLaunch('command', `${step.kind === 'memory' ? step.command : step.id} is none of SNP's`)
  }
  throw badLaunch('SNP_LAUNCH_FINISH', 'is missing: the digest is not final')
}

/** GCTX.LD: each page's PAGE_INFO holds the digest so far. */
class LaunchDigest {
  readonly #pageInfo = Buffer.alloc(0x70)

  get value(): Buffer {
    return Buffer.from(this.#pageInfo.subarray(0, 48))
  }

  update(type: number, gpa: bigint, page: Uint8Array): void {
    const info = this.#pageInfo
    if (type <= LAST_WITH_CONTENTS) info.set(hash('sha384', page, 'buffer'), 0x30)
    else info.fill(0, 0x30, 0x60)
    info.writeUInt16LE(0x70, 0x60)
    info.writeUInt8(type, 0x62)
    info.writeBigUInt64LE(gpa, 0x68)
    info.set(hash('sha384', info, 'buffer'), 0)
  }
}

function update(digest: LaunchDigest, { type, gpa, contents }: HandedMemory): RecordedPages {
  const name = PAGE_TYPES[type]
  if (name === undefined) throw badLaunch('page type', `is ${type}, 1 to 6 exist`)
  if (gpa === undefined || gpa % BigInt(PAGE_SIZE) !== 0n) throw badLaunch('gpa', 'is none of a page')
  if (contents.length === 0 || contents.length % PAGE_SIZE !== 0)
    throw badLaunch('length', `is ${contents.length}, whole pages of ${PAGE_SIZE} are required`)
  for (let at = 0; at < contents.length; at += PAGE_SIZE)
    digest.update(type, gpa + BigInt(at), contents.subarray(at, at + PAGE_SIZE))
  return { gpa, type: name, contents }
}

function readFeatures({ fields }: LaunchCommand): bigint {
  return new ByteReader(fields, { what: 'KVM_SEV_INIT2' }).u64le('vmsa_features')
}

/** `struct kvm_sev_snp_launch_start`. */
function startFields({ fields }: LaunchCommand): Record<string, string> {
  const reader = new ByteReader(fields, { what: 'KVM_SEV_SNP_LAUNCH_START' })
  return { POLICY: hexadecimal(reader.u64le('policy')), GOSVW: hexBytes(reader.bytes(16, 'gosvw')) }
}

/** `struct kvm_sev_snp_launch_finish`, the addresses zeroed by the recorder. */
function finishFields({ fields }: LaunchCommand): Record<string, string> {
  const reader = new ByteReader(fields, { what: 'KVM_SEV_SNP_LAUNCH_FINISH' })
  reader.mustBeZero(16, 'addresses')
  const [idBlock, authorKey, vcekDisabled] = [
    ...[reader.u8('id_block_en'), reader.u8('auth_key_en'), reader.u8('vcek_disabled')],
  ]
  return {
    HOST_DATA: hexBytes(reader.bytes(32, 'host_data')),
    ...{ ID_BLOCK_EN: String(idBlock), AUTHOR_KEY_EN: String(authorKey), VCEK_DIS: String(vcekDisabled) },
  }
}

/** Firmware ABI, tables "ID Block" and "ID Authentication Information": digests as the report shows them. */
function blockFields(blocks: readonly HandedMemory[]): Record<string, string> {
  const [block, authentication] = blocks
  if (block === undefined || authentication === undefined) return {}
  const reader = new ByteReader(block.contents, { what: 'ID block' })
  const fields = {
    ID_BLOCK_LD: hexBytes(reader.bytes(48, 'LD')),
    FAMILY_ID: hexBytes(reader.bytes(16, 'FAMILY_ID')),
    IMAGE_ID: hexBytes(reader.bytes(16, 'IMAGE_ID')),
    ID_BLOCK_VERSION: String(reader.u32le('VERSION')),
    GUEST_SVN: String(reader.u32le('GUEST_SVN')),
    ID_BLOCK_POLICY: hexadecimal(reader.u64le('POLICY')),
  }
  const keys = new ByteReader(authentication.contents, { what: 'ID authentication information' })
  return { ...fields, ID_KEY_DIGEST: keyDigest(keys, 0x240), AUTHOR_KEY_DIGEST: keyDigest(keys, 0x880) }
}

const KEY_LENGTH = 0x404

/** Zeros where there is no key, as the report has it. */
function keyDigest(reader: ByteReader, at: number): string {
  reader.seek(at, 'key')
  const key = reader.bytes(KEY_LENGTH, 'key')
  return key.some((byte) => byte !== 0) ? hash('sha384', key) : '00'.repeat(48)
}
