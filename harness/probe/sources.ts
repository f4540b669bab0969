/** What several facts are read from, each looked at once: /proc/cpuinfo, CPUID leaves, QEMU's answers. */

import type { FirmwareBuild } from './firmware.ts'
import { codeOf, type HostTree } from './host-tree.ts'
import type { Programs, QemuAnswers } from './programs.ts'

export interface CpuInfo {
  readonly vendor: string
  readonly family: number
  readonly model: number
  readonly name: string
  readonly flags: ReadonlySet<string>
  readonly processors: number
}

export interface CpuidLeaf {
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** A leaf, or why it cannot be read. */
export type CpuidAnswer =
  | { readonly kind: 'leaf'; readonly leaf: CpuidLeaf }
  /** The CPU's highest leaf is below the one asked for. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly reason: string }

export interface SourcesSpec {
  readonly host: HostTree
  readonly programs: Programs
  readonly firmware: readonly FirmwareBuild[]
  /** Directories whose free space matters. */
  readonly directories: { readonly cache: string; readonly state: string }
  /** Memory of the guest that must fit; the harness and QEMU come on top. */
  readonly guestMemoryMiB: number
}

export class Sources {
  readonly spec: SourcesSpec
  #cpu: Promise<CpuInfo> | undefined
  #qemu: Promise<QemuAnswers> | undefined

  constructor(spec: SourcesSpec) {
    this.spec = spec
  }

  get host(): HostTree {
    return this.spec.host
  }

  get programs(): Programs {
    return this.spec.programs
  }

  cpu(): Promise<CpuInfo> {
    this.#cpu ??= readCpuInfo(this.host)
    return this.#cpu
  }

  qemu(): Promise<QemuAnswers> {
    this.#qemu ??= this.programs.qemu()
    return this.#qemu
  }

  /** From the first processor; needs root and the module `cpuid`. */
  async cpuid(leaf: number): Promise<CpuidAnswer> {
    try {
      const highest = await readLeaf(this.host, leaf >= EXTENDED ? EXTENDED : 0)
      if (highest.eax < leaf) return { kind: 'absent' }
      return { kind: 'leaf', leaf: await readLeaf(this.host, leaf) }
    } catch (error) {
      return { kind: 'unreadable', reason: `${CPUID_DEVICE}: ${codeOf(error)}` }
    }
  }
}

const CPUID_DEVICE = '/dev/cpu/0/cpuid'
/** Leaf that holds the highest extended leaf. */
const EXTENDED = 0x80000000
const LEAF_BYTES = 16

/** The device's file position is the leaf; a read gives EAX, EBX, ECX, EDX. */
async function readLeaf(host: HostTree, leaf: number): Promise<CpuidLeaf> {
  const bytes = await host.readBytes(CPUID_DEVICE, leaf, LEAF_BYTES)
  if (bytes.length < LEAF_BYTES) throw new Error(`${bytes.length} of ${LEAF_BYTES} bytes`)
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = [0, 4, 8, 12].map((at) => bytes.readUInt32LE(at))
  return { eax, ebx, ecx, edx }
}

async function readCpuInfo(host: HostTree): Promise<CpuInfo> {
  const text = await host.readText('/proc/cpuinfo')
  if (text === undefined) throw new Error('/proc/cpuinfo does not exist')
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? ''
  return {
    vendor: field('vendor_id') || 'unknown vendor',
    family: Number(field('cpu family')),
    model: Number(field('model')),
    name: field('model name') || 'unnamed CPU',
    flags: new Set(field('flags').split(' ')),
    processors: text.match(/^processor\s*:/gm)?.length ?? 0,
  }
}
