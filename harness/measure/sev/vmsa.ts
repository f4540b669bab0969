/**
 * The save area (VMSA) that a virtual processor of an SEV-ES or SNP guest starts from: AMD64 Architecture Programmer's
 * Manual, volume 2, table B-4. VMMs differ in what they leave in it, and all of it is measured.
 */
import { type CpuSignature, cpuidSignature } from './cpu-models.ts'

export const VMSA_BYTES = 4096

/** QEMU with KVM, AWS's and Google's: each sets other registers. */
export const VMM_FLAVOURS = ['qemu', 'ec2', 'gce'] as const
export type VmmFlavour = (typeof VMM_FLAVOURS)[number]

export interface Segment {
  readonly selector: number
  readonly attributes: number
  readonly limit: number
  readonly base: number
}

const SEGMENT_OFFSETS = {
  ...{ es: 0x00, cs: 0x10, ss: 0x20, ds: 0x30, fs: 0x40, gs: 0x50 },
  ...{ gdtr: 0x60, ldtr: 0x70, idtr: 0x80, tr: 0x90 },
} as const

/** Offset and bytes of each register that some VMM sets; the rest of the page is zero. */
const REGISTERS = {
  efer: [0xd0, 8],
  cr4: [0x148, 8],
  cr0: [0x158, 8],
  dr7: [0x160, 8],
  dr6: [0x168, 8],
  rflags: [0x170, 8],
  rip: [0x178, 8],
  gPat: [0x268, 8],
  rdx: [0x310, 8],
  sevFeatures: [0x3b0, 8],
  xcr0: [0x3e8, 8],
  mxcsr: [0x408, 4],
  fcw: [0x410, 2],
} as const

type SegmentName = keyof typeof SEGMENT_OFFSETS
type RegisterName = keyof typeof REGISTERS

export interface SaveArea {
  readonly segments: Readonly<Record<SegmentName, Segment>>
  readonly registers: Readonly<Record<RegisterName, bigint>>
}

/** Where every x86 processor starts after a reset. */
export const BOOT_ADDRESS = 0xffff_fff0

export interface SaveAreaOptions {
  /** Where it starts: BOOT_ADDRESS, or the firmware's reset address for all but the first. */
  readonly eip: number
  readonly cpu: CpuSignature
  /** SEV_FEATURES: bit 0 SNP active, bit 5 debug register swap. 0 for SEV-ES. */
  readonly guestFeatures: bigint
  readonly vmm: VmmFlavour
}

/** Power-on state of AMD64 processors, in the attribute encoding of the VMSA, with KVM's additions. */
function segmentsAt(eip: number, { cs, ss, tr }: Attributes): SaveArea['segments'] {
  const data: Segment = { selector: 0, attributes: 0x93, limit: 0xffff, base: 0 }
  const table: Segment = { ...data, attributes: 0 }
  return {
    ...{ es: data, ds: data, fs: data, gs: data, gdtr: table, idtr: table },
    cs: { selector: 0xf000, attributes: cs, limit: 0xffff, base: (eip & 0xffff_0000) >>> 0 },
    ss: { ...data, attributes: ss },
    ldtr: { ...data, attributes: 0x82 },
    tr: { ...data, attributes: tr },
  }
}

interface Attributes {
  readonly cs: number
  readonly ss: number
  readonly tr: number
}

const KVM_ATTRIBUTES: Attributes = { cs: 0x9b, ss: 0x93, tr: 0x8b }

interface Flavour {
  readonly attributes: (eip: number) => Attributes
  readonly gPat: bigint
  readonly rdx: (cpu: CpuSignature) => number
  readonly mxcsr: bigint
  readonly fcw: bigint
}

/** The power-on value, PA0 to PA7. */
const DEFAULT_PAT = 0x7_0406_0007_0406n
/** RDX of clouds that do not reveal the model at reset. */
const GENERIC_SIGNATURE = 0x600

const FLAVOURS: Readonly<Record<VmmFlavour, Flavour>> = {
  qemu: {
    attributes: () => KVM_ATTRIBUTES,
    gPat: DEFAULT_PAT,
    rdx: cpuidSignature,
    mxcsr: 0x1f80n,
    fcw: 0x37fn,
  },
  ec2: {
    // Segments are not marked as accessed, but for the code segment of processors that OVMF's reset block starts.
    attributes: (eip) => ({ cs: eip === BOOT_ADDRESS ? 0x9a : 0x9b, ss: 0x92, tr: 0x83 }),
    gPat: DEFAULT_PAT,
    rdx: () => GENERIC_SIGNATURE,
    mxcsr: 0n,
    fcw: 0n,
  },
  gce: {
    attributes: () => KVM_ATTRIBUTES,
    gPat: 0x7_0106n,
    rdx: () => GENERIC_SIGNATURE,
    mxcsr: 0n,
    fcw: 0n,
  },
}

export function saveArea({ eip, cpu, guestFeatures, vmm }: SaveAreaOptions): SaveArea {
  const { attributes, gPat, rdx, mxcsr, fcw } = FLAVOURS[vmm]
  return {
    segments: segmentsAt(eip, attributes(eip)),
    registers: {
      // KVM sets EFER.SVME and CR4.MCE for every such guest.
      ...{ efer: 0x1000n, cr4: 0x40n, cr0: 0x10n, dr7: 0x400n, dr6: 0xffff_0ff0n, rflags: 2n, xcr0: 1n },
      rip: BigInt(eip & 0xffff),
      rdx: BigInt(rdx(cpu)),
      ...{ gPat, sevFeatures: guestFeatures, mxcsr, fcw },
    },
  }
}

/** The page as it is measured, 4096 bytes. */
export function encodeSaveArea({ segments, registers }: SaveArea): Buffer {
  const page = Buffer.alloc(VMSA_BYTES)
  for (const [name, at] of Object.entries(SEGMENT_OFFSETS)) {
    const { selector, attributes, limit, base } = segments[name as SegmentName]
    page.writeUInt16LE(selector, at)
    page.writeUInt16LE(attributes, at + 2)
    page.writeUInt32LE(limit, at + 4)
    page.writeBigUInt64LE(BigInt(base), at + 8)
  }
  for (const [name, [at, length]] of Object.entries(REGISTERS)) {
    const value = registers[name as RegisterName]
    if (length === 8) page.writeBigUInt64LE(value, at)
    else page.writeUIntLE(Number(value), at, length)
  }
  return page
}

/**
 * The registers of a page that are not zero, by name (`rdx`, `cs.base`), as `0x` and hex digits: to show, and to compare.
 * `page` has VMSA_BYTES.
 */
export function namedRegisters(page: Uint8Array): Readonly<Record<string, string>> {
  const bytes = Buffer.from(page.buffer, page.byteOffset, page.length)
  const segments = Object.entries(SEGMENT_OFFSETS).flatMap(([name, at]) => [
    [`${name}.selector`, BigInt(bytes.readUInt16LE(at))] as const,
    [`${name}.attributes`, BigInt(bytes.readUInt16LE(at + 2))] as const,
    [`${name}.limit`, BigInt(bytes.readUInt32LE(at + 4))] as const,
    [`${name}.base`, bytes.readBigUInt64LE(at + 8)] as const,
  ])
  const registers = Object.entries(REGISTERS).map(
    ([name, [at, length]]) =>
      [name, length === 8 ? bytes.readBigUInt64LE(at) : BigInt(bytes.readUIntLE(at, length))] as const,
  )
  return Object.fromEntries(
    [...segments, ...registers]
      .filter(([, value]) => value !== 0n)
      .map(([name, value]) => [name, `0x${value.toString(16)}`]),
  )
}
