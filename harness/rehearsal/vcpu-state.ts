/**
 * The registers of a vCPU as QEMU set them, request by request (Documentation/virt/kvm/api.rst of Linux). What was
 * not set has the value that KVM gives a vCPU at its reset.
 */
import { ByteReader } from '../base/bytes.ts'
import type { StateSet } from './recording.ts'

/** Requests of ioctl(2) on a vCPU. */
const REQUEST = {
  regs: 0x4090ae82,
  sregs: 0x4138ae84,
  msrs: 0x4008ae89,
  fpu: 0x41a0ae8d,
  debugregs: 0x4080aea2,
  xsave: 0x5000aea5,
  xcrs: 0x4188aea7,
  sregs2: 0x4140aecd,
} as const

/** `struct kvm_segment`. */
export interface Segment {
  readonly base: bigint
  readonly limit: number
  readonly selector: number
  readonly type: number
  readonly present: number
  readonly dpl: number
  readonly db: number
  readonly s: number
  readonly l: number
  readonly g: number
  readonly avl: number
  readonly unusable: number
}

/** `struct kvm_dtable`. */
export interface DescriptorTable {
  readonly base: bigint
  readonly limit: number
}

const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const
type SegmentName = (typeof SEGMENTS)[number]

/** In the order of `struct kvm_regs`. */
const GENERAL = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'],
] as const

export interface SystemRegisters {
  readonly segments: Readonly<Record<SegmentName, Segment>>
  readonly gdt: DescriptorTable
  readonly idt: DescriptorTable
  readonly cr0: bigint
  readonly cr2: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly efer: bigint
}

/** The x87 and SSE part of an XSAVE area (Intel SDM vol. 1, 13.4.1) and the upper halves of YMM. */
export interface FloatingPoint {
  readonly fcw: number
  readonly fsw: number
  readonly ftw: number
  readonly fop: number
  readonly rip: bigint
  readonly rdp: bigint
  readonly mxcsr: number
  /** Eight registers of 16 bytes, of which 10 count. */
  readonly st: Uint8Array
  readonly xmm: Uint8Array
  readonly ymmHigh: Uint8Array
}

export interface VcpuState {
  readonly registers: ReadonlyMap<string, bigint>
  readonly system: SystemRegisters | undefined
  readonly floatingPoint: FloatingPoint
  readonly dr6: bigint
  readonly dr7: bigint
  readonly xcr0: bigint
  readonly msrs: ReadonlyMap<number, bigint>
}

/** Linux, kvm_arch_vcpu_create and kvm_vcpu_reset: DR6_ACTIVE_LOW, DR7_FIXED_1, XFEATURE_MASK_FP, the FPU's reset. */
export const AT_RESET: VcpuState = {
  registers: new Map(),
  system: undefined,
  floatingPoint: {
    ...{ fcw: 0x37f, fsw: 0, ftw: 0, fop: 0, rip: 0n, rdp: 0n, mxcsr: 0x1f80 },
    ...{ st: new Uint8Array(128), xmm: new Uint8Array(256), ymmHigh: new Uint8Array(256) },
  },
  dr6: 0xffff_0ff0n,
  dr7: 0x400n,
  xcr0: 1n,
  msrs: new Map(),
}

/** The state after one more request; requests that set nothing of interest leave it. Throws FormatError. */
export function withState(state: VcpuState, { request, bytes }: StateSet): VcpuState {
  const reader = new ByteReader(bytes, { what: `vCPU state ${request.toString(16)}` })
  switch (request) {
    case REQUEST.regs:
      return { ...state, registers: new Map(GENERAL.map((name) => [name, reader.u64le(name)])) }
    case REQUEST.sregs:
    case REQUEST.sregs2:
      return { ...state, system: systemRegisters(reader) }
    case REQUEST.fpu:
      return { ...state, floatingPoint: fromFpu(reader) }
    case REQUEST.xsave:
      return { ...state, floatingPoint: fromXsave(reader, state.floatingPoint) }
    case REQUEST.debugregs:
      reader.skip(4 * 8, 'db')
      return { ...state, dr6: reader.u64le('dr6'), dr7: reader.u64le('dr7') }
    case REQUEST.xcrs:
      return { ...state, xcr0: xcr0(reader) ?? state.xcr0 }
    case REQUEST.msrs:
      return { ...state, msrs: new Map([...state.msrs, ...msrs(reader)]) }
    default:
      return state
  }
}

/** `struct kvm_sregs` and `kvm_sregs2` begin alike; cr8 and the APIC base are no part of a VMSA. */
function systemRegisters(reader: ByteReader): SystemRegisters {
  const segments = Object.fromEntries(SEGMENTS.map((name) => [name, segment(reader, name)]))
  const [gdt, idt] = [descriptorTable(reader, 'gdt'), descriptorTable(reader, 'idt')]
  const [cr0, cr2, cr3, cr4] = [
    ...[reader.u64le('cr0'), reader.u64le('cr2'), reader.u64le('cr3'), reader.u64le('cr4')],
  ] as [bigint, bigint, bigint, bigint]
  reader.skip(8, 'cr8')
  const efer = reader.u64le('efer')
  return { segments: segments as SystemRegisters['segments'], gdt, idt, cr0, cr2, cr3, cr4, efer }
}

function segment(reader: ByteReader, name: string): Segment {
  const read: Segment = {
    base: reader.u64le(`${name}.base`),
    limit: reader.u32le(`${name}.limit`),
    selector: reader.u16le(`${name}.selector`),
    type: reader.u8(`${name}.type`),
    present: reader.u8(`${name}.present`),
    dpl: reader.u8(`${name}.dpl`),
    db: reader.u8(`${name}.db`),
    s: reader.u8(`${name}.s`),
    l: reader.u8(`${name}.l`),
    g: reader.u8(`${name}.g`),
    avl: reader.u8(`${name}.avl`),
    unusable: reader.u8(`${name}.unusable`),
  }
  reader.skip(1, `${name}.padding`)
  return read
}

function descriptorTable(reader: ByteReader, name: string): DescriptorTable {
  const read = { base: reader.u64le(`${name}.base`), limit: reader.u16le(`${name}.limit`) }
  reader.skip(6, `${name}.padding`)
  return read
}

/** `struct kvm_fpu`. */
function fromFpu(reader: ByteReader): FloatingPoint {
  const st = reader.bytes(128, 'fpr')
  const [fcw, fsw, ftw] = [reader.u16le('fcw'), reader.u16le('fsw'), reader.u8('ftwx')] as const
  reader.skip(1, 'pad1')
  const [fop, rip, rdp] = [reader.u16le('last_opcode'), reader.u64le('last_ip'), reader.u64le('last_dp')]
  const xmm = reader.bytes(256, 'xmm')
  const mxcsr = reader.u32le('mxcsr')
  return { fcw, fsw, ftw, fop, rip, rdp, mxcsr, st, xmm, ymmHigh: new Uint8Array(256) }
}

/** Position of YMM's upper halves in the uncompacted format, CPUID 0xD, 2 EBX on every processor. */
const YMM_AT = 576
const HEADER_AT = 512
const FEATURE_X87 = 0b001n
const FEATURE_SSE = 0b010n
const FEATURE_YMM = 0b100n

/** The kernel copies what XSTATE_BV names and keeps the rest (copy_uabi_to_xstate); MXCSR belongs to SSE and AVX. */
function fromXsave(reader: ByteReader, before: FloatingPoint): FloatingPoint {
  reader.seek(HEADER_AT, 'XSTATE_BV')
  const present = reader.u64le('XSTATE_BV')
  reader.seek(0, 'FCW')
  const [fcw, fsw, ftw] = [reader.u16le('FCW'), reader.u16le('FSW'), reader.u8('FTW')] as const
  reader.skip(1, 'reserved')
  const [fop, rip, rdp] = [reader.u16le('FOP'), reader.u64le('FIP'), reader.u64le('FDP')]
  const mxcsr = reader.u32le('MXCSR')
  reader.skip(4, 'MXCSR_MASK')
  const [st, xmm] = [reader.bytes(128, 'ST'), reader.bytes(256, 'XMM')]
  reader.seek(YMM_AT, 'YMM_Hi128')
  const ymmHigh = reader.bytes(256, 'YMM_Hi128')
  return {
    ...before,
    ...(present & FEATURE_X87 ? { fcw, fsw, ftw, fop, rip, rdp, st } : {}),
    ...(present & FEATURE_SSE ? { xmm } : {}),
    ...(present & (FEATURE_SSE | FEATURE_YMM) ? { mxcsr } : {}),
    ...(present & FEATURE_YMM ? { ymmHigh } : {}),
  }
}

/** `struct kvm_xcrs`: at most 16 registers, of which only number 0 exists. */
function xcr0(reader: ByteReader): bigint | undefined {
  const count = reader.u32le('nr_xcrs')
  if (count > 16) throw reader.error('bad-value', 'nr_xcrs', `is ${count}, at most 16 fit`, 0)
  reader.skip(4, 'flags')
  let value: bigint | undefined
  for (let i = 0; i < count; i++) {
    const number = reader.u32le('xcr')
    reader.skip(4, 'reserved')
    const given = reader.u64le('value')
    if (number === 0) value = given
  }
  return value
}

/** `struct kvm_msrs`: as many entries as KVM took, which may be fewer than QEMU offered. */
function msrs(reader: ByteReader): readonly (readonly [number, bigint])[] {
  reader.skip(8, 'nmsrs')
  const entries: (readonly [number, bigint])[] = []
  while (reader.remaining > 0) {
    const index = reader.u32le('index')
    reader.skip(4, 'reserved')
    entries.push([index, reader.u64le('data')])
  }
  return entries
}
