/**
 * What the recorder wrote (recorder/recording.h, README.md): the launch as QEMU gave it to KVM, in its order. The file
 * is another program's output about somebody's firmware, so nothing in it is taken at its word.
 */
import { ByteReader } from '../base/bytes.ts'
import type { FormatError } from '../base/errors.ts'

const MAGIC = Buffer.from('ATTLREC1', 'latin1')
const VERSION = 1
const RECORD_SIZE = 32
/** The recorder itself stops at this. */
export const LONGEST_RECORDING = 256 * 1024 * 1024
const GPA_UNKNOWN = 0xffff_ffff_ffff_ffffn

/** `enum record_kind`. */
const KIND = { vm: 1, vcpu: 2, state: 3, command: 4, memory: 5, place: 6, end: 7 } as const

/** Part of a vCPU's state, by the request of ioctl(2) that set it. */
export interface StateSet {
  readonly kind: 'state'
  /** Index in order of creation, which is the order in which the kernel measures vCPUs. */
  readonly vcpu: number
  readonly request: number
  readonly bytes: Uint8Array
}

/** A command of the launch. `fields` is its structure with every address of QEMU's left out or zero. */
export interface LaunchCommand {
  readonly kind: 'command'
  readonly id: number
  readonly flags: number
  readonly fields: Uint8Array
}

/** Memory that a command handed over. */
export interface HandedMemory {
  readonly kind: 'memory'
  readonly command: number
  /** Page type (SNP), flags (TDX), which block (SNP's finish). */
  readonly type: number
  /** Guest-physical address; undefined for what has none. */
  readonly gpa: bigint | undefined
  readonly contents: Uint8Array
}

export type LaunchStep = StateSet | LaunchCommand | HandedMemory

export interface Recording {
  /** Argument of KVM_CREATE_VM. */
  readonly vmType: number
  readonly vcpus: number
  /** In the order in which QEMU took them. */
  readonly steps: readonly LaunchStep[]
}

interface Draft {
  vmType: number | undefined
  vcpus: number
  readonly steps: LaunchStep[]
  /** Steps that are memory records, by their own count. */
  readonly memory: number[]
  readonly reader: ByteReader
}

interface Record {
  readonly kind: number
  readonly subject: number
  readonly code: bigint
  readonly gpa: bigint
  readonly payload: Uint8Array
}

/** Throws FormatError for anything but a recording that came to its end: no part of a launch has a digest. */
export function parseRecording(bytes: Uint8Array): Recording {
  const reader = new ByteReader(bytes, { what: 'launch recording' })
  reader.magic(MAGIC, 'magic')
  expect(reader, 'version', VERSION)
  expect(reader, 'record size', RECORD_SIZE)
  const draft: Draft = { vmType: undefined, vcpus: 0, steps: [], memory: [], reader }
  for (let record = readRecord(reader); record.kind !== KIND.end; record = readRecord(reader))
    add(draft, record)
  reader.end()
  const { vmType, vcpus, steps } = draft
  if (vmType === undefined) throw reader.error('bad-value', 'VM record', 'is missing')
  return { vmType, vcpus, steps }
}

function expect(reader: ByteReader, field: string, wanted: number): void {
  const { offset } = reader
  const got = reader.u32le(field)
  if (got !== wanted) throw reader.error('bad-value', field, `is ${got}, must be ${wanted}`, offset)
}

function readRecord(reader: ByteReader): Record {
  const kind = reader.u32le('kind')
  const subject = reader.u32le('subject')
  const code = reader.u64le('code')
  const gpa = reader.u64le('gpa')
  const length = reader.u64le('length')
  if (length > BigInt(LONGEST_RECORDING))
    throw reader.error('too-large', 'length', `is ${length}, at most ${LONGEST_RECORDING} is possible`)
  return { kind, subject, code, gpa, payload: reader.bytes(Number(length), 'payload') }
}

function add(draft: Draft, { kind, subject, code, gpa, payload }: Record): void {
  switch (kind) {
    case KIND.vm:
      if (draft.vmType !== undefined) throw wrong(draft, 'VM record', 'comes twice')
      draft.vmType = small(draft, code)
      return
    case KIND.vcpu:
      if (subject !== draft.vcpus) throw wrong(draft, 'vCPU', `is number ${subject}, ${draft.vcpus} is next`)
      draft.vcpus++
      return
    case KIND.state:
      if (subject >= draft.vcpus) throw wrong(draft, 'vCPU', `number ${subject} was never created`)
      draft.steps.push({ kind: 'state', vcpu: subject, request: small(draft, code), bytes: payload })
      return
    case KIND.command:
      draft.steps.push({ kind: 'command', id: small(draft, code), flags: subject, fields: payload })
      return
    case KIND.memory:
      draft.memory.push(draft.steps.length)
      draft.steps.push({
        ...{ kind: 'memory', command: small(draft, code), type: subject, contents: payload },
        gpa: gpa === GPA_UNKNOWN ? undefined : gpa,
      })
      return
    case KIND.place:
      place(draft, subject, gpa)
      return
    default:
      throw wrong(draft, 'kind', `is ${kind}, 1 to 7 are known`)
  }
}

/** Memory is measured before QEMU has mapped it: where it lies is told later. */
function place(draft: Draft, index: number, gpa: bigint): void {
  const position = draft.memory[index]
  const step = position === undefined ? undefined : draft.steps[position]
  if (position === undefined || step?.kind !== 'memory' || step.gpa !== undefined)
    throw wrong(draft, 'place', `names memory record ${index}, which lacks no place`)
  draft.steps[position] = { ...step, gpa }
}

function small(draft: Draft, code: bigint): number {
  if (code > 0xffff_ffffn) throw wrong(draft, 'code', `is ${code}, at most 32 bits are known`)
  return Number(code)
}

function wrong({ reader }: Draft, field: string, problem: string): FormatError {
  return reader.error('bad-value', field, problem)
}
