/**
 * The VMSA page of a vCPU, as Linux makes it from the registers that QEMU set (sev_es_sync_vmsa in
 * arch/x86/kvm/svm/sev.c). It is measured by the processor but never passes through QEMU, so it is rebuilt here.
 *
 * On purpose nothing of harness/measure is used: the predictor writes down what QEMU is known to set, this takes what it
 * did set, and the two check each other. Layout: AMD64 APM volume 2, table B-4.
 */
import { HostError } from '../base/errors.ts'
import type { FloatingPoint, Segment, SystemRegisters, VcpuState } from './vcpu-state.ts'

export const VMSA_SIZE = 4096

const SEGMENT_AT = {
  es: 0x00,
  cs: 0x10,
  ss: 0x20,
  ds: 0x30,
  fs: 0x40,
  gs: 0x50,
  ldt: 0x70,
  tr: 0x90,
} as const
const GDTR_AT = 0x60
const IDTR_AT = 0x80
const CPL_AT = 0xcb
const EFER_AT = 0xd0
const SEV_FEATURES_AT = 0x3b0
const XCR0_AT = 0x3e8

const GENERAL_AT: Readonly<Record<string, number>> = {
  ...{ rflags: 0x170, rip: 0x178, rsp: 0x1d8, rax: 0x1f8, rcx: 0x308, rdx: 0x310, rbx: 0x318, rbp: 0x328 },
  ...{ rsi: 0x330, rdi: 0x338, r8: 0x340, r9: 0x348, r10: 0x350, r11: 0x358, r12: 0x360, r13: 0x368 },
  ...{ r14: 0x370, r15: 0x378 },
}

/** Model-specific registers that the save area holds. */
const MSR_AT: readonly (readonly [msr: number, at: number])[] = [
  [0xda0, 0x140], // XSS
  [0xc0000081, 0x200], // STAR
  [0xc0000082, 0x208], // LSTAR
  [0xc0000083, 0x210], // CSTAR
  [0xc0000084, 0x218], // SFMASK
  [0xc0000102, 0x220], // KERNEL_GS_BASE
  [0x174, 0x228], // SYSENTER_CS
  [0x175, 0x230], // SYSENTER_ESP
  [0x176, 0x238], // SYSENTER_EIP
  [0x277, 0x268], // PAT
  [0x1d9, 0x270], // DEBUGCTL
]

const PAT = 0x277
/** What KVM gives the PAT at a vCPU's reset (MSR_IA32_CR_PAT_DEFAULT). */
const PAT_AT_RESET = 0x0007_0406_0007_0406n

/** Bits that KVM itself decides: svm_set_efer, svm_set_cr4, svm_set_cr0 (KVM_X86_QUIRK_CD_NW_CLEARED). */
const EFER_SVME = 1n << 12n
const CR4_MCE = 1n << 6n
const CR0_CD_NW = (1n << 30n) | (1n << 29n)

export interface VmsaOptions {
  /** SEV_FEATURES: what INIT2 asked for, with SNP's own bit. */
  readonly features: bigint
  /** KVM_SEV_ES_INIT leaves the floating-point state out, KVM_SEV_INIT2 (Linux 6.10) puts it in. */
  readonly floatingPoint: boolean
}

/** 4096 bytes. Throws HostError 'platform-unusable' where QEMU never set the vCPU's system registers. */
export function buildVmsa(state: VcpuState, { features, floatingPoint }: VmsaOptions): Buffer {
  if (state.system === undefined)
    throw new HostError('cannot rebuild a VMSA: QEMU started the launch before it set a vCPU', {
      code: 'platform-unusable',
      hint: 'This QEMU launches in an order that the rehearsal does not know',
    })
  const page = Buffer.alloc(VMSA_SIZE)
  writeSystem(page, state.system)
  for (const [name, at] of Object.entries(GENERAL_AT))
    page.writeBigUInt64LE(state.registers.get(name) ?? 0n, at)
  for (const [msr, at] of MSR_AT) {
    const initial = msr === PAT ? PAT_AT_RESET : 0n
    page.writeBigUInt64LE(state.msrs.get(msr) ?? initial, at)
  }
  page.writeBigUInt64LE(state.dr7, 0x160)
  page.writeBigUInt64LE(state.dr6, 0x168)
  page.writeBigUInt64LE(features, SEV_FEATURES_AT)
  page.writeBigUInt64LE(state.xcr0, XCR0_AT)
  if (floatingPoint) writeFloatingPoint(page, state.floatingPoint)
  return page
}

function writeSystem(page: Buffer, system: SystemRegisters): void {
  for (const [name, at] of Object.entries(SEGMENT_AT))
    writeSegment(page, at, system.segments[name as keyof typeof SEGMENT_AT])
  for (const [table, at] of [
    [system.gdt, GDTR_AT],
    [system.idt, IDTR_AT],
  ] as const) {
    page.writeUInt32LE(table.limit, at + 4)
    page.writeBigUInt64LE(table.base, at + 8)
  }
  // Linux keeps no privilege level of its own: it is that of the stack.
  page.writeUInt8(system.segments.ss.dpl & 3, CPL_AT)
  page.writeBigUInt64LE(system.efer | EFER_SVME, EFER_AT)
  page.writeBigUInt64LE(system.cr4 | CR4_MCE, 0x148)
  page.writeBigUInt64LE(system.cr3, 0x150)
  page.writeBigUInt64LE(system.cr0 & ~CR0_CD_NW, 0x158)
  page.writeBigUInt64LE(system.cr2, 0x240)
}

/** Selector, attributes, limit, base (APM volume 2, 15.5.1); the attributes as svm_set_segment packs them. */
function writeSegment(page: Buffer, at: number, segment: Segment): void {
  const present = segment.present & 1 & ~segment.unusable
  const attributes =
    (segment.type & 0xf) |
    ((segment.s & 1) << 4) |
    ((segment.dpl & 3) << 5) |
    (present << 7) |
    ((segment.avl & 1) << 8) |
    ((segment.l & 1) << 9) |
    ((segment.db & 1) << 10) |
    ((segment.g & 1) << 11)
  page.writeUInt16LE(segment.selector, at)
  page.writeUInt16LE(attributes, at + 2)
  page.writeUInt32LE(segment.limit, at + 4)
  page.writeBigUInt64LE(segment.base, at + 8)
}

const X87_REGISTERS = 8

function writeFloatingPoint(page: Buffer, fpu: FloatingPoint): void {
  page.writeBigUInt64LE(fpu.rdp, 0x400)
  page.writeUInt32LE(fpu.mxcsr, 0x408)
  page.writeUInt16LE(fpu.ftw, 0x40c)
  page.writeUInt16LE(fpu.fsw, 0x40e)
  page.writeUInt16LE(fpu.fcw, 0x410)
  page.writeUInt16LE(fpu.fop, 0x412)
  page.writeBigUInt64LE(fpu.rip, 0x418)
  // First the eight mantissas, then the eight exponents with their signs.
  for (let i = 0; i < X87_REGISTERS; i++) {
    page.set(fpu.st.subarray(i * 16, i * 16 + 8), 0x420 + i * 8)
    page.set(fpu.st.subarray(i * 16 + 8, i * 16 + 10), 0x420 + 64 + i * 2)
  }
  page.set(fpu.xmm, 0x470)
  page.set(fpu.ymmHigh, 0x570)
}
