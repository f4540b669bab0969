/**
 * TDX: MRTD of recorded memory regions (Intel TDX module ABI: TDH.MEM.PAGE.ADD extends MRTD by "MEM.PAGE.ADD" and the
 * GPA, TDH.MR.EXTEND by "MR.EXTEND", the chunk's GPA and its 256 bytes). KVM adds a page, then extends it where it is
 * to be measured, then goes on to the next. Written apart from harness/measure, and to stay so.
 */
import { createHash, type Hash } from 'node:crypto'
import { ByteReader } from '../base/bytes.ts'
import { badLaunch } from './bad-launch.ts'
import { hexadecimal, hexBytes, type Launch, PAGE_SIZE, type RecordedPages } from './launch.ts'
import type { HandedMemory, LaunchCommand, Recording } from './recording.ts'

const INIT_VM = 1
const INIT_VCPU = 2
const INIT_MEM_REGION = 3
const FINALIZE_VM = 4

/** KVM_TDX_MEASURE_MEMORY_REGION. */
const MEASURE = 1
const CHUNK_SIZE = 256

/** Throws FormatError for a stream that is no whole launch. */
export function tdxLaunch({ steps }: Recording): Launch {
  const mrtd = createHash('sha384')
  const pages: RecordedPages[] = []
  let fields: Readonly<Record<string, string>> | undefined
  for (const step of steps) {
    if (step.kind === 'state') continue
    if (step.kind === 'memory' && step.command === INIT_MEM_REGION) pages.push(addRegion(mrtd, step))
    else if (step.kind === 'memory') throw badLaunch('command', `${step.command} hands over no memory in TDX`)
    else if (step.id === INIT_VM) fields = initFields(step)
    else if (step.id === FINALIZE_VM) {
      if (fields === undefined) throw badLaunch('KVM_TDX_INIT_VM', 'is missing')
      return { technology: 'tdx', digest: mrtd.digest(), pages, fields }
    } else if (step.id !== INIT_VCPU) throw badLaunch('command', `${step.id} is none of TDX's`)
  }
  throw badLaunch('KVM_TDX_FINALIZE_VM', 'is missing: MRTD is not final')
}

function addRegion(mrtd: Hash, { type: flags, gpa, contents }: HandedMemory): RecordedPages {
  if (gpa === undefined || gpa % BigInt(PAGE_SIZE) !== 0n) throw badLaunch('gpa', 'is none of a page')
  if (contents.length === 0 || contents.length % PAGE_SIZE !== 0)
    throw badLaunch('length', `is ${contents.length}, whole pages of ${PAGE_SIZE} are required`)
  if ((flags & ~MEASURE) !== 0) throw badLaunch('flags', `are ${flags}, only bit 0 is known`)
  for (let at = 0; at < contents.length; at += PAGE_SIZE)
    addPage(mrtd, gpa + BigInt(at), flags & MEASURE ? contents.subarray(at, at + PAGE_SIZE) : undefined)
  return { gpa, type: flags & MEASURE ? 'extended' : 'added', contents }
}

/** `contents`: of a page that is measured with them. */
function addPage(mrtd: Hash, gpa: bigint, contents: Uint8Array | undefined): void {
  mrtd.update(operation('MEM.PAGE.ADD', gpa))
  if (contents === undefined) return
  for (let at = 0; at < PAGE_SIZE; at += CHUNK_SIZE) {
    mrtd.update(operation('MR.EXTEND', gpa + BigInt(at)))
    mrtd.update(contents.subarray(at, at + CHUNK_SIZE))
  }
}

/** The 128 bytes that stand for one operation. */
function operation(name: string, gpa: bigint): Buffer {
  const block = Buffer.alloc(128)
  block.write(name, 'latin1')
  block.writeBigUInt64LE(gpa, 16)
  return block
}

/** `struct kvm_tdx_init_vm`, as far as the TD report shows it. */
function initFields({ fields }: LaunchCommand): Readonly<Record<string, string>> {
  const reader = new ByteReader(fields, { what: 'KVM_TDX_INIT_VM' })
  return {
    TDATTRIBUTES: hexadecimal(reader.u64le('attributes')),
    XFAM: hexadecimal(reader.u64le('xfam')),
    MRCONFIGID: hexBytes(reader.bytes(48, 'mrconfigid')),
    MROWNER: hexBytes(reader.bytes(48, 'mrowner')),
    MROWNERCONFIG: hexBytes(reader.bytes(48, 'mrownerconfig')),
  }
}
