/**
 * The typed description of one virtual machine. It holds exactly what changes the QEMU command line; the
 * command line is a pure function of it (argv.ts), so equal descriptions give equal launches.
 */

export type Accelerator = 'tcg' | 'kvm'

/** How the firmware is given to the machine. `secure`: the variable store can only be written from SMM. */
export type FirmwareLoad =
  | {
      readonly kind: 'pflash'
      /** CODE file, mapped read-only. */
      readonly code: string
      /** The VM's own copy of the variable store; written by the guest. */
      readonly variables: string
      readonly secure: boolean
    }
  /** A combined file with `-bios`: EFI variables live in memory and do not survive a reset. */
  | { readonly kind: 'bios'; readonly file: string }

export interface DriveDescription {
  readonly id: string
  readonly file: string
  readonly format: 'raw' | 'qcow2'
  readonly readOnly?: boolean
  /** Position in the firmware's boot order, from 0; absent: not offered for boot. */
  readonly bootIndex?: number
}

export interface TpmDescription {
  /** swtpm's control socket (`--ctrl type=unixio,path=`). */
  readonly controlSocket: string
  readonly model: 'tpm-crb' | 'tpm-tis'
}

/** Direct boot: kernel (or UKI), with initrd and command line where given. */
export interface DirectBoot {
  readonly kernel: string
  readonly initrd?: string
  readonly commandLine?: string
}

/** A QEMU `-object`, given as JSON so that no value needs escaping. */
export interface QemuObject {
  readonly 'qom-type': string
  readonly id: string
  readonly [property: string]: unknown
}

export interface VirtioPort {
  readonly name: string
  readonly socket: string
}

export interface MachineDescription {
  /** Name of the VM in messages and in QEMU's `-name`; letters, digits, `-`. */
  readonly name: string
  readonly accelerator: Accelerator
  /** Options of `-machine q35`, in order, without smm (which follows from the firmware). */
  readonly machineOptions: Readonly<Record<string, string>>
  /** The value of `-cpu`. */
  readonly cpu: string
  readonly vcpus: number
  readonly memoryMiB: number
  readonly firmware: FirmwareLoad
  readonly directBoot?: DirectBoot
  readonly drives: readonly DriveDescription[]
  readonly tpm?: TpmDescription
  readonly objects: readonly QemuObject[]
  /** SMBIOS type 11 OEM strings: a place where the host can interfere. */
  readonly smbiosStrings: readonly string[]
  readonly ports: readonly VirtioPort[]
  /** `i6300esb` watchdog that resets the guest. */
  readonly watchdog: boolean
  /** Confidential guests need `disable-legacy=on,iommu_platform=true` on every virtio device. */
  readonly virtioOptions: Readonly<Record<string, string>>
  /** What a guest-initiated reset does: `reset` boots again in the same QEMU, `exit` ends QEMU. */
  readonly onReset: 'reset' | 'exit'
  /** Sockets that QEMU creates and the harness connects to. */
  readonly qmpSocket: string
  readonly serialSocket: string
}
