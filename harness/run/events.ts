/**
 * The event stream of a run: the one truth that every report is a view of. Events are plain JSON; strings
 * that come from a guest are raw here, and a view escapes them for its own medium.
 */
import type { Basis } from '../platforms/descriptor.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { BootRecord } from './timeline.ts'

/**
 * Version of this schema, in the first event of every stream. 2: variants have QEMU, vCPUs and memory, results say how
 * often they were tried, and an attempt that broke ends with an event of its own. 3: what QEMU and the host did to a VM,
 * registers beside their prediction, evidence, and the host of the run. 4: which scenarios draw states of a power cut, and
 * the root that its guest found altered. `event-schema.ts` has the same for programs.
 */
export const EVENT_SCHEMA_VERSION = 4
/** Oldest version whose streams are events of today's, without those that came later. */
export const OLDEST_READABLE_EVENTS = 2

export type VtpmKind = 'stateful' | 'stateless' | 'none'

/** One point of the matrix. */
export interface Variant {
  readonly platform: PlatformId
  readonly vtpm: VtpmKind
  /** Firmware id of ovmf/manifest.yaml. */
  readonly firmware: string
  /** Image id, or the name of a bring-your-own description. */
  readonly image: string
  /** `tools`: the one of the tools; `host`: the host's own; else its path. */
  readonly qemu: string
  readonly vcpus: number
  readonly memoryMiB: number
  /** The TEE is emulated, and its guests run on this. */
  readonly emulatedOn?: PlatformId
}

export type Outcome = 'pass' | 'fail' | 'error' | 'skip'
export type ClaimOutcome = 'pass' | 'fail' | 'skip'

export interface ClaimResult {
  /** Identifier within the scenario. */
  readonly id: string
  /** The sentence that is claimed. */
  readonly claim: string
  readonly basis: Basis
  readonly outcome: ClaimOutcome
  readonly expected: string
  readonly got: string
}

export interface ScenarioResult {
  readonly scenario: string
  readonly variant: Variant
  readonly outcome: Outcome
  /** Why it is not a pass; for a skip `code: missing fact`. Empty for a pass. */
  readonly reason: string
  /** What a person can do about it, where that is known. */
  readonly hint?: string
  readonly seconds: number
  readonly claims: readonly ClaimResult[]
  /** Every boot of VMs with slots, in the order of their ends. */
  readonly boots?: readonly VmBoot[]
  /** Run directory of this point of the matrix, of its last attempt; empty where nothing was started. */
  readonly dir: string
  /** How often it was started: 0 where it was not, above 1 where attempts broke and were retried. */
  readonly attempts: number
  /** The attempts before the last one; each was an `error`. */
  readonly broken?: readonly BrokenAttempt[]
  /** From 1, where the run repeats its points. */
  readonly repetition?: number
  /** Why the matrix marks it as unstable: it does not make the run fail. */
  readonly unstable?: string
}

/** An attempt that broke, and was followed by another. */
export interface BrokenAttempt {
  readonly reason: string
  readonly seconds: number
  readonly dir: string
  /** Those that it had decided; none is false, since it would not have been followed. */
  readonly claims: readonly ClaimResult[]
}

/** A mark of the matrix that says `skip` until a day that is over. */
export interface ExpiredMark {
  /** `file:line:column` of the mark. */
  readonly place: string
  readonly reason: string
  /** The last day on which it held, ISO 8601. */
  readonly until: string
  /** How many variants it no longer skips. */
  readonly variants: number
}

export interface VmBoot extends BootRecord {
  readonly vm: string
}

export interface RunResult {
  readonly results: readonly ScenarioResult[]
  /** The run fails for each of them; absent where the matrix has none. */
  readonly expired?: readonly ExpiredMark[]
  /** How many variants are in other shards; absent where there are none. */
  readonly otherShards?: number
}

/** A point of the matrix that a run is to work on. */
export interface PlannedEntry {
  readonly key: string
  readonly scenario: string
  readonly variant: Variant
  /** From 1, where the run repeats its points. */
  readonly repetition?: number
}

/** What a run ran on, as far as it tells runs apart. */
export interface RunHost {
  readonly name: string
  /** Kernel and release. */
  readonly system: string
  readonly processor: string
  readonly cores: number
  readonly memoryMiB: number
  readonly attestbed: string
}

/** One place of a register's events, as predicted and as the log of the boot has it; one of the two may be absent. */
export interface EventPair {
  readonly same: boolean
  readonly predicted?: {
    readonly type: string
    readonly what: string
    /** Hex; absent where it cannot be known. */
    readonly digest?: string
  }
  readonly logged?: { readonly type: string; readonly digest: string }
}

export interface RegisterDifference {
  /** `PCR 7`, `RTMR 1`. */
  readonly name: string
  readonly verdict: 'equal' | 'different' | 'log-disagrees' | 'unknown'
  /** Hex; absent where it cannot be known. */
  readonly predicted?: string
  /** Hex, as the guest's TPM says; absent where it was not asked. */
  readonly seen?: string
  readonly events: readonly EventPair[]
}

/** A piece of evidence as a person reads it: `EvidencePage` of the room evidence, all text safe to print. */
export interface EvidenceText {
  readonly title: string
  readonly says: readonly {
    readonly title: string
    readonly rows: readonly { readonly label: string; readonly value: string; readonly note?: string }[]
  }[]
  readonly vouchedBy: readonly { readonly state: 'holds' | 'open'; readonly text: string }[]
}

/** Phases of a VM's boot, in order. */
export const PHASES = [
  'preparing',
  'launching',
  'firmware',
  'stub',
  'kernel',
  'initrd',
  'unlock',
  'userspace',
  'driving',
  'stopping',
] as const
export type Phase = (typeof PHASES)[number]

interface Stamped {
  /** Milliseconds since the epoch. */
  readonly at: number
}

interface OfScenario extends Stamped {
  /** Identifies the scenario on one point of the matrix within this run. */
  readonly key: string
}

export type RunEvent =
  | (Stamped & {
      readonly type: 'run-started'
      readonly version: typeof EVENT_SCHEMA_VERSION
      readonly directory: string
      readonly planned: readonly PlannedEntry[]
      readonly jobs: number
      readonly host?: RunHost
    })
  /** Another round of a run that goes on until something fails. */
  | (Stamped & { readonly type: 'run-extended'; readonly planned: readonly PlannedEntry[] })
  | (OfScenario & {
      readonly type: 'scenario-started'
      readonly scenario: string
      readonly title: string
      readonly variant: Variant
      readonly directory: string
      /** From 1; above it where an attempt before this one broke. */
      readonly attempt: number
      /** It boots states of a power cut, by the seed and the range of the run's record. */
      readonly isSampled?: true
    })
  | (OfScenario & { readonly type: 'phase'; readonly vm: string; readonly phase: Phase })
  | (OfScenario & { readonly type: 'vm-started'; readonly vm: string; readonly argv: readonly string[] })
  /** What QEMU says of the machine; `data` is JSON, cut where it is long. */
  | (OfScenario & {
      readonly type: 'qmp-event'
      readonly vm: string
      readonly name: string
      readonly data: string
    })
  /** What the host does to a VM: an attack, a reset, a cut of its power. */
  | (OfScenario & { readonly type: 'host-action'; readonly vm: string; readonly text: string })
  /** Registers of a boot, event by event beside what was predicted of it. */
  | (OfScenario & {
      readonly type: 'registers'
      readonly vm: string
      readonly bank: string
      readonly registers: readonly RegisterDifference[]
    })
  | (OfScenario & { readonly type: 'evidence'; readonly vm: string; readonly page: EvidenceText })
  /** Instead of a start, where only the command lines were asked for: each process in the order to start them. */
  | (OfScenario & { readonly type: 'command-lines'; readonly commands: readonly (readonly string[])[] })
  /** The harness has the guest run a command: what the console says meanwhile are frames, for no human. */
  | (OfScenario & { readonly type: 'guest-command'; readonly vm: string; readonly argv: readonly string[] })
  | (OfScenario & { readonly type: 'console-line'; readonly vm: string; readonly line: string })
  | (OfScenario & {
      readonly type: 'vm-ended'
      readonly vm: string
      readonly kind: string
      readonly reason: string
      readonly consoleTail: string
    })
  /** Of a VM with slots; `line` says it in words that are safe to print. */
  | (OfScenario & {
      readonly type: 'boot-ended'
      readonly vm: string
      readonly boot: BootRecord
      readonly line: string
    })
  | (OfScenario & { readonly type: 'note'; readonly text: string })
  | (OfScenario & { readonly type: 'claim'; readonly result: ClaimResult })
  /** An attempt that broke; another `scenario-started` follows. */
  | (OfScenario & { readonly type: 'attempt-ended'; readonly result: ScenarioResult })
  | (OfScenario & { readonly type: 'scenario-ended'; readonly result: ScenarioResult })
  /** Work for the run as a whole, such as the build of an image. */
  | (Stamped & { readonly type: 'run-note'; readonly text: string })
  | (Stamped & { readonly type: 'run-ended'; readonly result: RunResult })

export type RunEventSink = (event: RunEvent) => void
