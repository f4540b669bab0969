import type { MachineDescription } from '../machine/description.ts'

export const PLATFORM_IDS = ['sev-snp', 'tdx', 'sev-es', 'sev', 'kvm', 'tcg'] as const
export type PlatformId = (typeof PLATFORM_IDS)[number]

/** How the truth of a claim was established (the design's vocabulary). */
export type Basis = 'hardware' | 'rehearsed' | 'emulated' | 'predicted'

/** A host fact that a platform needs, and why, for the person who lacks it. */
export interface PlatformNeed {
  readonly fact: string
  readonly why: string
}

/** Numbers read from the host that a command line needs. */
export interface HostParameters {
  /** C-bit position, CPUID 0x8000001F EBX[5:0]; undefined where the leaf is absent. */
  readonly cbitPosition?: number
}

/** Everything there is to know of one platform; nothing below switches on a platform's name. */
export interface PlatformDescriptor {
  readonly id: PlatformId
  readonly title: string
  /** What a claim rests on when the guest ran on this platform. */
  readonly basis: Basis
  readonly needs: readonly PlatformNeed[]
  /** Firmware load this platform can use; `bios` only: variables do not persist. */
  readonly firmwareLoads: readonly ('pflash' | 'bios')[]
  /** Feature a firmware must have (as in ovmf/manifest.yaml), where it must have one. */
  readonly firmwareFeature?: string
  /** `relaunch`: this platform cannot reset a guest, a reboot ends QEMU. */
  readonly reboot: 'reset' | 'relaunch'
  /** The description as this platform needs it: accelerator, CPU, machine options, objects. Pure. */
  apply(description: MachineDescription, host: HostParameters): MachineDescription
}
