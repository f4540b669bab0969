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
      /** As `writeLog` of a drive. */
      readonly variablesLog?: string
      readonly secure: boolean
    }
  /** A combined file with `-bios`: EFI variables live in memory and do not survive a reset. */
  | { readonly kind: 'bios'; readonly file: string }

/**
 * A disk on virtio. Its cache is the host's page cache with flushes ignored: fast, and safe against everything but
 * a crash of the host, which throw-away disks need not survive.
 */
export interface DriveDescription {
  /** Unique in the machine: a letter, then letters, digits, `-`. */
  readonly id: string
  readonly file: string
  readonly format: 'raw' | 'qcow2'
  readonly readOnly?: boolean
  /** An empty file that gets every write in its order, in the form of dm-log-writes; absent: nothing is recorded. */
  readonly writeLog?: string
  /** Position in the firmware's boot order, from 0; absent: the firmware is not told to boot from it. */
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

/** A virtio-serial port; QEMU listens on `socket`. */
export interface VirtioPort {
  /** As the guest sees it in /dev/virtio-ports: `org.attestbed.tsm`. */
  readonly name: string
  readonly socket: string
}

/**
 * A network on which one address answers, on one port: what connects there reaches a port of the host's loopback. QEMU
 * drops everything else, and the interface has no option ROM, so that the firmware cannot boot from it.
 */
export interface NetworkDescription extends ForwardedAddress {
  /** One more address that answers. */
  readonly other?: ForwardedAddress
}

export interface ForwardedAddress {
  /** IPv4 address in 10.0.2.0/24 but for 10.0.2.2, 10.0.2.3 (QEMU's own) and 10.0.2.15 (the guest's). */
  readonly address: string
  readonly port: number
  readonly hostPort: number
}

/** A file that is in the guest's memory at power-on and after each reset. */
export interface MemoryImage {
  readonly file: string
  /** Guest-physical. */
  readonly address: number
}

export interface MachineDescription {
  /** Name of the VM in messages and in QEMU's `-name`: a letter or digit, then letters, digits, `-`. */
  readonly name: string
  readonly accelerator: Accelerator
  /** What QEMU opens instead of /dev/kvm: a rehearsal stands in for it. */
  readonly kvmDevice?: string
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
  /** Absent: the machine has no network interface. */
  readonly network?: NetworkDescription
  /**
   * Port of a service of the guest, which has the address `GUEST_ADDRESS` then: QEMU forwards a port of the host's loopback to
   * it, which one `forwardedPort` tells. Absent: nobody can connect to the guest.
   */
  readonly servicePort?: number
  /** Files that the guest reads by fw_cfg, by their names (`opt/...`): a place where the host can interfere; absent: none. */
  readonly firmwareFiles?: Readonly<Record<string, string>>
  /** Absent: none. */
  readonly memoryImages?: readonly MemoryImage[]
  /** `i6300esb` watchdog that resets the guest. */
  readonly watchdog: boolean
  /**
   * `pvpanic-pci`, by which a guest reports its panic; absent: true. A minimal footprint leaves it out, since every
   * device is in the ACPI tables that the firmware measures.
   */
  readonly pvpanic?: boolean
  /** `virtio-rng-pci`; absent: true. */
  readonly rng?: boolean
  /** Confidential guests need `disable-legacy=on,iommu_platform=true` on every virtio device. */
  readonly virtioOptions: Readonly<Record<string, string>>
  /** What a guest-initiated reset does: `reset` boots again in the same QEMU, `exit` ends QEMU. */
  readonly onReset: 'reset' | 'exit'
  /**
   * What a panic of the guest is. `end` (absent: this): the guest is paused and has ended. `continue`: an event, the
   * guest goes on to what its `panic=` says, as A/B fallback by `panic=3` needs.
   */
  readonly onPanic?: 'end' | 'continue'
  /**
   * A file that gets a line for every write of a block node and every TPM command, in the order in which they happened
   * (QEMU's trace events); absent: nothing is traced.
   */
  readonly trace?: string
  /** A socket that QEMU creates and the harness connects to. */
  readonly qmpSocket: string
  /** Two FIFOs are made there before QEMU starts, with `.in` and `.out` after their name (`serialFifos`). */
  readonly serialPipe: string
}
