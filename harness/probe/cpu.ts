/** Facts of the processor: its confidential-computing features and the numbers that command lines need. */

import { type FactProbe, type Finding, no, unknown, yes } from './finding.ts'
import type { CpuInfo, Sources } from './sources.ts'

/** AMD64 Architecture Programmer's Manual vol. 3, E.4.17: Function 8000_001Fh, encrypted memory capabilities. */
const SEV_LEAF = 0x8000001f
const CBIT_MASK = 0x3f
/** Intel TDX module specification: "IntelTDX    " in EBX, EDX, ECX, in a trust domain only. */
const TDX_LEAF = 0x21
const TDX_SIGNATURE = 'IntelTDX    '

const SEV_FEATURES = [
  { id: 'cpu-sev', flag: 'sev', bit: 1, name: 'SEV' },
  { id: 'cpu-sev-es', flag: 'sev_es', bit: 3, name: 'SEV-ES' },
  { id: 'cpu-sev-snp', flag: 'sev_snp', bit: 4, name: 'SEV-SNP' },
] as const

const SEV_HINT =
  'Enable SMEE (memory encryption) in the firmware setup; for SEV-SNP also SNP support, RMP coverage and the IOMMU'
const TDX_HINT =
  'Enable TME, TME-MT, TDX and SGX in the firmware setup, leave key ids to TDX, and boot a kernel with kvm_intel.tdx=1'

export const cpuProbes: readonly FactProbe[] = [
  { id: 'cpu', look: lookAtCpu },
  ...SEV_FEATURES.map((feature) => ({
    id: feature.id,
    look: (sources: Sources) => lookAtSevFeature(sources, feature),
  })),
  { id: 'cpu-cbit', look: async (sources) => (await cbitPosition(sources)).finding },
  { id: 'cpu-tdx', look: lookAtTdx },
  { id: 'inside-cvm', look: lookInside },
]

export function isAmd(cpu: CpuInfo): boolean {
  return cpu.vendor === 'AuthenticAMD' || cpu.vendor === 'HygonGenuine'
}

export function isIntel(cpu: CpuInfo): boolean {
  return cpu.vendor === 'GenuineIntel'
}

/** Every processor with TDX has MOVDIR64B, which the TDX module requires. */
export function mayHaveTdx(cpu: CpuInfo): boolean {
  return isIntel(cpu) && cpu.flags.has('movdir64b')
}

async function lookAtCpu(sources: Sources): Promise<Finding> {
  const cpu = await sources.cpu()
  const virtual = cpu.flags.has('hypervisor') ? ', itself virtual' : ''
  const proof = `${cpu.name} (${cpu.vendor} family ${cpu.family} model ${cpu.model}${virtual})`
  return cpu.processors > 0 ? yes(proof) : unknown(`/proc/cpuinfo lists no processor: ${proof}`)
}

async function lookAtSevFeature(sources: Sources, feature: (typeof SEV_FEATURES)[number]): Promise<Finding> {
  const cpu = await sources.cpu()
  if (!isAmd(cpu)) return no(`the CPU is ${cpu.vendor}; ${feature.name} is AMD's`)
  const answer = await sources.cpuid(SEV_LEAF)
  const bit = answer.kind === 'leaf' ? (answer.leaf.eax >>> feature.bit) & 1 : undefined
  const leaf =
    answer.kind === 'leaf'
      ? `CPUID 0x8000001F EAX=${hex(answer.leaf.eax)} bit ${feature.bit} is ${bit}`
      : answer.kind === 'absent'
        ? 'CPUID has no leaf 0x8000001F'
        : `CPUID not read (${answer.reason})`
  if (cpu.flags.has(feature.flag)) return yes(`/proc/cpuinfo has the flag ${feature.flag}; ${leaf}`)
  // The kernel clears the flag when the firmware left memory encryption off.
  return no(`/proc/cpuinfo lacks the flag ${feature.flag}; ${leaf}`, bit === 1 ? SEV_HINT : '')
}

/** The C-bit's position and how it is known; the position is undefined where it is not. */
export async function cbitPosition(
  sources: Sources,
): Promise<{ readonly finding: Finding; readonly position?: number }> {
  const cpu = await sources.cpu()
  if (!isAmd(cpu)) return { finding: no(`the CPU is ${cpu.vendor}; the C-bit is AMD's`) }
  const answer = await sources.cpuid(SEV_LEAF)
  if (answer.kind === 'absent') return { finding: no('CPUID has no leaf 0x8000001F') }
  if (answer.kind === 'leaf') {
    const position = answer.leaf.ebx & CBIT_MASK
    const proof = `CPUID 0x8000001F EBX=${hex(answer.leaf.ebx)}: C-bit ${position}`
    return position === 0 ? { finding: no(proof) } : { finding: yes(proof), position }
  }
  return cbitFromQemu(sources, answer.reason)
}

async function cbitFromQemu(
  sources: Sources,
  unread: string,
): Promise<{ readonly finding: Finding; readonly position?: number }> {
  const { sev } = await sources.qemu()
  if ('cbitPosition' in sev) {
    return {
      finding: yes(`QMP query-sev-capabilities: cbitpos ${sev.cbitPosition}`),
      position: sev.cbitPosition,
    }
  }
  const hint =
    'Run as root with the module cpuid loaded (modprobe cpuid), or with access to /dev/kvm and /dev/sev'
  return { finding: unknown(`${unread}; QMP query-sev-capabilities: ${sev.error}`, hint) }
}

async function lookAtTdx(sources: Sources): Promise<Finding> {
  const cpu = await sources.cpu()
  if (!isIntel(cpu)) return no(`the CPU is ${cpu.vendor}; TDX is Intel's`)
  if (cpu.flags.has('tdx_host_platform')) return yes('/proc/cpuinfo has the flag tdx_host_platform')
  const parameter = (await sources.host.readText('/sys/module/kvm_intel/parameters/tdx'))?.trim()
  // kvm_intel turns its parameter off again when the CPU has no TDX or the TDX module does not start.
  if (parameter === 'Y') return yes('/sys/module/kvm_intel/parameters/tdx: Y')
  if (!mayHaveTdx(cpu)) return no('/proc/cpuinfo lacks the flag movdir64b, which TDX requires')
  return unknown(
    '/proc/cpuinfo has the flag movdir64b, but neither it nor kvm_intel says whether TDX is on',
    TDX_HINT,
  )
}

/** Informational: a harness that runs inside a confidential VM cannot start another one there. */
async function lookInside(sources: Sources): Promise<Finding> {
  for (const device of ['/dev/tdx_guest', '/dev/sev-guest']) {
    if (await sources.host.stat(device)) return yes(`${device} exists`)
  }
  const answer = await sources.cpuid(TDX_LEAF)
  if (answer.kind === 'unreadable')
    return unknown(`no guest device in /dev; CPUID 0x21 not read (${answer.reason})`)
  if (answer.kind === 'absent') return no('no guest device in /dev; CPUID has no leaf 0x21')
  const { ebx, ecx, edx } = answer.leaf
  const signature = Buffer.alloc(12)
  for (const [index, word] of [ebx, edx, ecx].entries()) signature.writeUInt32LE(word, index * 4)
  const proof = `CPUID 0x21 says '${signature.toString('latin1').replaceAll('\0', '')}'`
  return signature.toString('latin1') === TDX_SIGNATURE ? yes(proof) : no(`no guest device in /dev; ${proof}`)
}

function hex(word: number): string {
  return `0x${word.toString(16).padStart(8, '0')}`
}
