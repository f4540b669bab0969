/** What is known of this host: each fact with the proof it rests on. */

export type FactStatus = 'yes' | 'no' | 'unknown'

export interface Fact {
  readonly id: string
  readonly status: FactStatus
  /** What was looked at and what it said: a file, an ioctl, a CPUID leaf, a QMP answer. One line, safe to print. */
  readonly proof: string
  /** What a person can do when the status is not `yes`; empty where nothing need or can be done. */
  readonly hint: string
}

export interface PlatformVerdict {
  readonly usable: boolean
  /** Why it is not usable: the first need that is not met, with its proof. */
  readonly reason?: string
  /** Of one that is not usable: the platform that its guests run on where it is emulated. */
  readonly emulatedOn?: string
  /** What a usable platform cannot do here; absent when nothing is missing. */
  readonly limits?: readonly string[]
}

/** The document of `attestbed doctor --json`. */
export interface HostReport {
  readonly facts: readonly Fact[]
  readonly platforms: Readonly<Record<string, PlatformVerdict>>
}

/** Where QEMU reaches the service that turns a TD report into a quote. */
export type QuoteSocket =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'vsock'; readonly cid: string; readonly port: string }

/** Values read from the host that a command line needs. */
export interface HostParameters {
  /** C-bit position, CPUID 0x8000001F EBX[5:0]; undefined where the leaf is absent or cannot be read. */
  readonly cbitPosition?: number
  /** Undefined where there is no quote-generation service. */
  readonly quoteSocket?: QuoteSocket
  /** Major and minor version of the QEMU that will run the guests. */
  readonly qemuVersion?: readonly [number, number]
  /** MiB that guests may take now; undefined where it cannot be found out. */
  readonly freeMemoryMiB?: number
  /** Confidential guests that still have room, where the kernel counts them. */
  readonly guestSlots?: GuestSlots
}

/** What each confidential guest takes one of: SEV ASIDs, those of SEV-ES and SEV-SNP, TDX key ids. */
export type GuestSlotKind = 'sev' | 'sev_es' | 'tdx'
export type GuestSlots = Readonly<Partial<Record<GuestSlotKind, number>>>

/** What probing gives: facts for people and verdicts, values for command lines. */
export interface HostProbe {
  readonly facts: readonly Fact[]
  readonly parameters: HostParameters
}
