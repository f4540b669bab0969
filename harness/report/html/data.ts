/** What the HTML report holds: written by the harness, read by the page. Times are milliseconds. */
import type {
  BrokenAttempt,
  ClaimResult,
  EvidenceText,
  Outcome,
  Phase,
  RegisterDifference,
  RunHost,
  Variant,
} from '../../run/events.ts'

export const REPORT_FORMAT = 1

/** Read when the page opens: what the grid, its filters and its search need. */
export interface ReportIndex {
  readonly format: typeof REPORT_FORMAT
  readonly title: string
  readonly runs: readonly RunAbout[]
  /** By scenario: its title and the sentences of its claims by their ids. */
  readonly scenarios: Readonly<Record<string, ScenarioText>>
  readonly rows: readonly RunRow[]
  /** What was compared with, where something was. */
  readonly before?: RunAbout
  /** Points that only the run before had. */
  readonly gone?: readonly {
    readonly scenario: string
    readonly variant: Variant
    readonly outcome: Outcome
  }[]
  /** What could not be read, in words. */
  readonly problems: readonly string[]
}

export interface ScenarioText {
  readonly title: string
  readonly claims: Readonly<Record<string, string>>
}

export interface RunAbout {
  readonly directory: string
  /** Milliseconds since the epoch; 0 where it is not known. */
  readonly startedAt: number
  readonly ms: number
  readonly host?: RunHost
  readonly notes: readonly string[]
  readonly expired: readonly string[]
  /** Whether it came to its end. */
  readonly ended: boolean
}

/** One scenario on one point of the matrix. */
export interface RunRow {
  readonly scenario: string
  readonly variant: Variant
  readonly repetition?: number
  readonly outcome: Outcome
  /** First line. */
  readonly reason: string
  readonly seconds: number
  readonly attempts: number
  readonly unstable?: string
  /** `pEo`: of each claim its id, the letter of its basis (H R E P) and of its outcome (p f s). */
  readonly claims: readonly (readonly [id: string, basis: string, outcome: string])[]
  /** Index of the block with its details, and its place there. */
  readonly place: readonly [block: number, index: number]
  readonly change?: RowChange
}

export type Change =
  | 'new-failure'
  | 'fixed'
  | 'still-failing'
  /** It passes, but a claim is not decided any more, or by weaker evidence. */
  | 'weaker'
  | 'slower'
  | 'faster'
  | 'other'
  | 'new'
  | 'same'

export interface RowChange {
  readonly kind: Change
  readonly outcome?: Outcome
  readonly seconds?: number
}

/** Read when a run is looked at. Times are relative to the start of its last attempt. */
export interface RunDetail {
  readonly startedAt: number
  readonly reason: string
  readonly hint?: string
  /** Words for a shell. */
  readonly command: string
  /** The same, of what failed: makes one file of it. */
  readonly makeBundle?: string
  readonly directory: string
  readonly claims: readonly ClaimResult[]
  readonly broken: readonly BrokenAttempt[]
  readonly ms: number
  readonly vms: readonly VmTrack[]
  readonly marks: readonly TimelineMark[]
  readonly consoles: readonly ConsoleRecord[]
  readonly registers: readonly RegisterTable[]
  readonly evidence: readonly { readonly vm: string; readonly page: EvidenceText }[]
  readonly processes: readonly ProcessRecord[]
  /** What could not be read, or was left out, in words. */
  readonly problems: readonly string[]
}

export interface VmTrack {
  readonly name: string
  readonly boots: readonly BootBar[]
}

export interface BootBar {
  readonly number: number
  /** QEMU process, from 1. */
  readonly process: number
  readonly from: number
  readonly to: number
  readonly segments: readonly { readonly phase: Phase; readonly from: number; readonly to: number }[]
  /** `reset`, `panic`, ... */
  readonly ending: string
  /** Slot, entry, refusals: what is known beside. */
  readonly remark: string
  readonly unlocked?: boolean
}

export type MarkKind = 'qmp' | 'host' | 'guest' | 'note' | 'claim' | 'end'

export interface TimelineMark {
  readonly at: number
  readonly kind: MarkKind
  readonly vm: string
  readonly text: string
}

/** The console of one QEMU process: plain lines, safe to show. */
export interface ConsoleRecord {
  readonly vm: string
  readonly process: number
  /** When its first byte could have come. */
  readonly from: number
  readonly lines: readonly string[]
  /** Of each line: milliseconds since the line before it, the first since `from`. */
  readonly steps: readonly number[]
  /** Bytes that are only in the run directory: at the place `at`, an index of `lines`. */
  readonly omitted?: { readonly bytes: number; readonly at: number }
  readonly file: string
}

export interface RegisterTable {
  readonly at: number
  readonly vm: string
  readonly bank: string
  readonly registers: readonly RegisterDifference[]
}

/** One QEMU process: what it was started with. */
export interface ProcessRecord {
  readonly vm: string
  readonly process: number
  readonly argv: readonly string[]
  readonly materials: readonly Material[]
}

export interface Material {
  readonly role: string
  readonly path: string
  readonly sha256: string
  readonly bytes: number
}
