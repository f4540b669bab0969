/** What is known of this host: each fact with the proof it rests on. */

export type FactStatus = 'yes' | 'no' | 'unknown'

export interface Fact {
  readonly id: string
  readonly status: FactStatus
  /** What was looked at and what it said: a file, an ioctl, a CPUID leaf, a QMP answer. */
  readonly proof: string
  /** What a person can do when the status is not `yes`; empty where nothing need be done. */
  readonly hint: string
}

export interface PlatformVerdict {
  readonly usable: boolean
  readonly reason?: string
}

/** The document of `attestbed doctor --json`. */
export interface HostReport {
  readonly facts: readonly Fact[]
  readonly platforms: Readonly<Record<string, PlatformVerdict>>
}
