/** Recordings made by hand, in the recorder's format. */

const RECORD_SIZE = 32
export const GPA_UNKNOWN = 0xffff_ffff_ffff_ffffn

export interface SyntheticRecord {
  readonly kind: number
  readonly subject?: number
  readonly code?: number
  readonly gpa?: bigint
  readonly payload?: Uint8Array
}

export const KIND = { vm: 1, vcpu: 2, state: 3, command: 4, memory: 5, place: 6, end: 7 } as const

export function encodeRecording(records: readonly SyntheticRecord[]): Buffer {
  const header = Buffer.alloc(16)
  header.write('ATTLREC1', 'latin1')
  header.writeUInt32LE(1, 8)
  header.writeUInt32LE(RECORD_SIZE, 12)
  return Buffer.concat([header, ...records.flatMap(encodeRecord)])
}

function encodeRecord({ kind, subject = 0, code = 0, gpa = 0n, payload = Buffer.alloc(0) }: SyntheticRecord) {
  const header = Buffer.alloc(RECORD_SIZE)
  header.writeUInt32LE(kind, 0)
  header.writeUInt32LE(subject, 4)
  header.writeBigUInt64LE(BigInt(code), 8)
  header.writeBigUInt64LE(gpa, 16)
  header.writeBigUInt64LE(BigInt(payload.length), 24)
  return [header, payload]
}

/** KVM_SET_SREGS2 of a processor at its reset, as QEMU passes it. */
export function resetSystemRegisters(): Buffer {
  const sregs = Buffer.alloc(320)
  const segment = (index: number, type: number, s: number, selector = 0, base = 0n): void => {
    const at = index * 24
    sregs.writeBigUInt64LE(base, at)
    sregs.writeUInt32LE(0xffff, at + 8)
    sregs.writeUInt16LE(selector, at + 12)
    sregs.writeUInt8(type, at + 14)
    sregs.writeUInt8(1, at + 15)
    sregs.writeUInt8(s, at + 18)
  }
  segment(0, 0xb, 1, 0xf000, 0xffff_0000n)
  for (let index = 1; index <= 5; index++) segment(index, 0x3, 1)
  segment(6, 0xb, 0)
  segment(7, 0x2, 0)
  sregs.writeUInt16LE(0xffff, 192 + 8)
  sregs.writeUInt16LE(0xffff, 208 + 8)
  sregs.writeBigUInt64LE(0x6000_0010n, 224)
  return sregs
}

/** KVM_SET_REGS at the reset vector, with the CPUID signature in RDX. */
export function resetRegisters(signature: number): Buffer {
  const regs = Buffer.alloc(144)
  regs.writeBigUInt64LE(BigInt(signature), 3 * 8)
  regs.writeBigUInt64LE(0xfff0n, 16 * 8)
  regs.writeBigUInt64LE(2n, 17 * 8)
  return regs
}

export const SET_REGS = 0x4090ae82
export const SET_SREGS2 = 0x4140aecd

const UNFINISHED_SNP: readonly SyntheticRecord[] = [
  { kind: KIND.vm, code: 4 },
  { kind: KIND.command, code: 22, payload: Buffer.alloc(48) },
  { kind: KIND.command, code: 100, payload: Buffer.concat([Buffer.from([0, 0, 3]), Buffer.alloc(61)]) },
  { kind: KIND.vcpu, subject: 0, code: 0 },
  { kind: KIND.state, code: SET_SREGS2, payload: resetSystemRegisters() },
  { kind: KIND.state, code: SET_REGS, payload: resetRegisters(0x800f12) },
  { kind: KIND.memory, code: 101, subject: 1, gpa: 0xffff_f000n, payload: Buffer.alloc(4096, 0x5a) },
  { kind: KIND.memory, code: 101, subject: 3, gpa: 0x80_0000n, payload: Buffer.alloc(8192) },
]

/** One vCPU, one page of ROM, two zero pages. */
export const SNP_RECORDS: readonly SyntheticRecord[] = [
  ...UNFINISHED_SNP,
  { kind: KIND.command, code: 102, payload: Buffer.alloc(88) },
  { kind: KIND.end },
]

export const TDX_RECORDS: readonly SyntheticRecord[] = [
  { kind: KIND.vm, code: 5 },
  { kind: KIND.command, code: 1, payload: Buffer.alloc(256) },
  { kind: KIND.vcpu, subject: 0, code: 0 },
  { kind: KIND.command, code: 2 },
  { kind: KIND.memory, code: 3, subject: 1, gpa: 0xffff_f000n, payload: Buffer.alloc(4096, 0x5a) },
  { kind: KIND.memory, code: 3, subject: 0, gpa: 0x80_9000n, payload: Buffer.alloc(8192) },
  { kind: KIND.command, code: 4 },
  { kind: KIND.end },
]

/** SEV-ES by KVM_SEV_INIT2; its ROM is measured before it is mapped. */
export const SEV_ES_RECORDS: readonly SyntheticRecord[] = [
  { kind: KIND.vm, code: 3 },
  { kind: KIND.command, code: 22, payload: Buffer.alloc(48) },
  { kind: KIND.command, code: 2, payload: Buffer.from([5, 0, 0, 0]) },
  { kind: KIND.vcpu, subject: 0, code: 0 },
  { kind: KIND.memory, code: 3, gpa: GPA_UNKNOWN, payload: Buffer.alloc(4096, 0x5a) },
  { kind: KIND.place, subject: 0, gpa: 0xffff_f000n },
  { kind: KIND.state, code: SET_SREGS2, payload: resetSystemRegisters() },
  { kind: KIND.state, code: SET_REGS, payload: resetRegisters(0x800f12) },
  { kind: KIND.command, code: 4 },
  { kind: KIND.command, code: 7 },
  { kind: KIND.end },
]
