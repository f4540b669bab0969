/**
 * Builds with SMM move each processor's SMBASE in the PEI phase, by code that lies in the PEI volume and is patched in
 * place (edk2, UefiCpuPkg/Library/SmmRelocationLib). The volume is measured after that. Most of what is written is an
 * address inside the volume; the rest are pages and pool memory that the PEI phase allocates from the top of low memory,
 * so they follow from the machine's memory and vCPUs, by constants of the build. They were read from the memory of
 * machines of several sizes, stopped in their firmware (`pmemsave` of the volume), and not from any event log.
 */
import { sha256Hex } from '../../base/digest.ts'

/** PcdOvmfPeiMemFvBase: where OVMF decompresses the volume to. */
const VOLUME_BASE = 0x83_0000
/** PcdOvmfSecPageTablesBase. */
const PAGE_TABLES = 0x80_0000
const CR4 = 0x660
const CR0 = 0x8000_0033
const IDT_LIMIT = 0xfff

const MIB = 0x10_0000
/** q35 with more memory than that leaves a hole for devices below 4 GiB. */
const LOW_MEMORY_LIMIT = 0xb000_0000
const LOW_MEMORY_WITH_HOLE = 0x8000_0000

export interface SmmMachine {
  readonly memoryMiB: number
  readonly vcpus: number
}

export interface SmmPlacement extends SmmMachine {
  /** Bytes of the file `bootorder` in QEMU's fw_cfg. */
  readonly bootOrderBytes: number
}

/** How a machine's PEI phase places what the code is patched with; all values are guest physical addresses. */
export interface SmmLayout {
  readonly build: SmmBuild
  readonly vcpus: number
  readonly stack: number
  readonly smBase: number
  readonly idt: number
}

/** Offsets in the volume, and constants, of one build. */
interface SmmBuild {
  /** Immediate operands of the code that processors run first in SMM. */
  readonly cr3: number
  readonly cr4: number
  readonly cr0: number
  readonly longMode: { readonly at: number; readonly target: number }
  readonly stackAt: number
  readonly startup: { readonly at: number; readonly target: number }
  readonly rebasedOperand: number
  readonly originalOperand: number
  /** Two counters that the build initializes with 1. */
  readonly processorCounts: readonly number[]
  /** The interrupted code's address; a pointer to a flag; the flag; the SMBASE; the descriptor of the IDT. */
  readonly original: { readonly at: number; readonly target: number }
  readonly rebasedPointer: number
  readonly rebased: number
  readonly smBaseAt: number
  readonly idtAt: number
  /** MiB below the top of low memory that SMM takes (extended TSEG of QEMU's q35). */
  readonly tsegMiB: number
  /** Bytes below TSEG, and how much lower they are for each vCPU after the first. */
  readonly stackBelow: number
  readonly stackPerVcpu: number
  readonly idtBelow: number
  readonly idtPerVcpu: number
  /** The IDT is so much higher where memory goes on above 4 GiB: the HOB list before it is longer. */
  readonly idtWithHole: number
}

const DEBIAN_2026_08: SmmBuild = {
  ...{ cr3: 0x1941d, cr4: 0x19430, cr0: 0x19455, longMode: { at: 0x1945e, target: 0x19464 } },
  ...{ stackAt: 0x19466, startup: { at: 0x19504, target: 0x19410 } },
  ...{ rebasedOperand: 0x19522, originalOperand: 0x1952c, processorCounts: [0x1aa50, 0x1aa58] },
  ...{ original: { at: 0x1abe0, target: 0x10f71 }, rebasedPointer: 0x1abe8, rebased: 0x1abf0 },
  ...{ smBaseAt: 0x1abf8, idtAt: 0x1ac40, tsegMiB: 64 },
  ...{ stackBelow: 0x3c_c008, stackPerVcpu: 0x1_1000 },
  ...{ idtBelow: 0x406_a528, idtPerVcpu: 0xffc8, idtWithHole: 0x48 },
}

/** By the SHA-256 of the PEI volume as it is in the file. */
const BUILDS: Readonly<Record<string, SmmBuild>> = {
  /** Debian 2026.08-ds-2, OVMF_CODE_4M.secboot.fd. */
  '7dc26c2a9bf8da46a397aa48736acb6c5af6960e03975bc20e425fb5f59c76fc': DEBIAN_2026_08,
  /** Its OVMF_CODE_4M.secboot.strictnx.fd: up to 0x1be00, past all that is patched, only sizes in headers differ. */
  c36188584410e7016fe88dc47b9c298f2e87102d59059cf04f803d8bf6585365: DEBIAN_2026_08,
}

/** Undefined for a volume of a build that is not in the table. */
export function smmLayout(
  volume: Uint8Array | undefined,
  { memoryMiB, vcpus, bootOrderBytes }: SmmPlacement,
): SmmLayout | undefined {
  const build = volume && BUILDS[sha256Hex(volume)]
  if (build === undefined) return undefined
  const hole = memoryMiB * MIB >= LOW_MEMORY_LIMIT
  const tseg = (hole ? LOW_MEMORY_WITH_HOLE : memoryMiB * MIB) - build.tsegMiB * MIB
  return {
    ...{ build, vcpus },
    stack: tseg - build.stackBelow - build.stackPerVcpu * (vcpus - 1),
    smBase: tseg - 0x7000,
    idt:
      tseg -
      build.idtBelow -
      build.idtPerVcpu * (vcpus - 1) +
      (hole ? build.idtWithHole : 0) +
      cachedFile(bootOrderBytes),
  }
}

/** The PEI phase keeps a copy in a HOB: 24 bytes of header, 6 of its own, all in steps of 8 (OvmfPkg, QemuFwCfgCacheInit.c). */
function cachedFile(bytes: number): number {
  return bytes === 0 ? 0 : Math.ceil((24 + 6 + bytes) / 8) * 8
}

/** The volume as it is in memory when it is measured. */
export function smmPatchedVolume(volume: Uint8Array, layout: SmmLayout): Uint8Array {
  const { build, stack, smBase, idt, vcpus } = layout
  const image = Buffer.from(volume)
  const address = (offset: number) => VOLUME_BASE + offset
  image.writeUInt32LE(PAGE_TABLES, build.cr3)
  image.writeUInt32LE(CR4, build.cr4)
  image.writeUInt32LE(CR0, build.cr0)
  image.writeUInt32LE(address(build.longMode.target), build.longMode.at)
  image.writeBigUInt64LE(BigInt(stack), build.stackAt)
  image.writeBigUInt64LE(BigInt(address(build.startup.target)), build.startup.at)
  image.writeUInt32LE(address(build.rebased), build.rebasedOperand)
  image.writeUInt32LE(address(build.original.at), build.originalOperand)
  for (const at of build.processorCounts) image.writeBigUInt64LE(BigInt(vcpus), at)
  image.writeBigUInt64LE(BigInt(address(build.original.target)), build.original.at)
  image.writeBigUInt64LE(BigInt(address(build.rebased)), build.rebasedPointer)
  image.writeUInt8(1, build.rebased)
  image.writeBigUInt64LE(BigInt(smBase), build.smBaseAt)
  image.writeUInt16LE(IDT_LIMIT, build.idtAt)
  image.writeBigUInt64LE(BigInt(idt), build.idtAt + 2)
  return image
}
