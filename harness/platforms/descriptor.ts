import type { MachineDescription } from '../machine/description.ts'
import type { GuestSlotKind, HostParameters } from '../probe/facts.ts'
import type { FirmwareFeature } from '../probe/firmware.ts'
import type { EmulatedProcessor, ProcessorOptions } from './emulated/processor.ts'
import type { LaunchOptionName, LaunchOptions } from './launch-options.ts'
import type { PlatformId } from './platform-id.ts'
import type { PredictLaunch } from './predicted-launch.ts'

export type { HostParameters } from '../probe/facts.ts'

/** How the truth of a claim was established (the design's vocabulary). */
export type Basis = 'hardware' | 'rehearsed' | 'emulated' | 'predicted'

/** A host fact that a platform needs, and why, for the person who lacks it. */
export interface PlatformNeed {
  /** Id of a fact of harness/probe. */
  readonly fact: string
  /** The need as a clause: `QEMU must know sev-snp-guest`. */
  readonly why: string
  /** The fact cannot be found out on every host: only a plain `no` stands in the way. */
  readonly unknownIsEnough?: true
}

/** How a TEE is emulated on a host that lacks it. */
export interface TeeEmulation {
  /** Feature of the firmware that a guest needs to boot as the TEE's would. */
  readonly firmwareFeature: FirmwareFeature
  /** Its registers are what the guest's boot extends its vTPM by: firmware must measure, and there must be a vTPM. */
  readonly readsVtpm?: true
  /** Feature of firmware for plain machines that guests boot where none of the TEE's own can do what is asked for. */
  readonly standIn?: FirmwareFeature
  /** Loaded when it is asked for. */
  readonly load: () => Promise<(options: ProcessorOptions) => EmulatedProcessor>
}

/** Everything there is to know of one platform; nothing below switches on a platform's name. */
export interface PlatformDescriptor {
  readonly id: PlatformId
  readonly title: string
  /** What a claim rests on when the guest ran on this platform. */
  readonly basis: Basis
  /** From the most basic to the most particular: the first one that is not met is the reason that people read. */
  readonly needs: readonly PlatformNeed[]
  /** Facts without which guests run, but lack something; `why` says what. */
  readonly wants: readonly PlatformNeed[]
  /** Firmware load this platform can use; `bios` only: variables do not persist. */
  readonly firmwareLoads: readonly ('pflash' | 'bios')[]
  /** Feature a firmware must have (as in ovmf/manifest.yaml), where it must have one. */
  readonly firmwareFeature?: FirmwareFeature
  /** Fact that must hold for firmware with SMM; absent: SMM needs nothing. */
  readonly smmFact?: string
  /** First QEMU that can launch it, where that is not every one that we support. */
  readonly qemuSince?: readonly [major: number, minor: number]
  /** What each of its guests takes one of; absent: nothing that is short. */
  readonly guestSlot?: GuestSlotKind
  /** What its owner may choose; none on platforms that prove nothing. */
  readonly launchOptions: readonly LaunchOptionName[]
  /** Absent: nothing emulates it. */
  readonly emulation?: TeeEmulation
  /** Of an emulated TEE: which one, and the platform that its guests run on. */
  readonly emulated?: { readonly tee: PlatformDescriptor; readonly on: PlatformDescriptor }
  /** Of an emulated TEE: what is asked of other firmware where its own has no Secure Boot, or measures nothing into a TPM. */
  readonly standIn?: Pick<PlatformDescriptor, 'firmwareLoads' | 'firmwareFeature' | 'smmFact'>
  /** What its launch is measured as (launch digest, MRTD); absent where nothing is. */
  readonly predictLaunch?: PredictLaunch
  /** `relaunch`: QEMU ends at a guest's reboot, and the same guest is started anew. */
  reboot(host: HostParameters): 'reset' | 'relaunch'
  /**
   * The description as this platform needs it: accelerator, CPU, machine options, objects. Pure. Throws UsageError
   * 'bad-value' for firmware it cannot load and options it does not know, HostError 'platform-unusable' where a value of
   * the host is missing, 'program-too-old' for QEMU.
   */
  apply(description: MachineDescription, host: HostParameters, options?: LaunchOptions): MachineDescription
}
