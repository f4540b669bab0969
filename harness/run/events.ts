/**
 * The event stream of a run: the one truth that every report is a view of. Events are plain JSON; strings
 * that come from a guest are raw here, and a view escapes them for its own medium.
 */
import type { Basis } from '../platforms/descriptor.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { BootRecord } from './timeline.ts'

/** Version of this schema, in the first event of every stream. */
export const EVENT_SCHEMA_VERSION = 1

export type VtpmKind = 'stateful' | 'stateless' | 'none'

/** One point of the matrix. */
export interface Variant {
  readonly platform: PlatformId
  readonly vtpm: VtpmKind
  /** Firmware id of ovmf/manifest.yaml. */
  readonly firmware: string
  /** Image id, or the name of a bring-your-own description. */
  readonly image: string
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
  /** Run directory of this point of the matrix; empty where nothing was started. */
  readonly dir: string
}

export interface VmBoot extends BootRecord {
  readonly vm: string
}

export interface RunResult {
  readonly results: readonly ScenarioResult[]
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
      readonly planned: readonly {
        readonly key: string
        readonly scenario: string
        readonly variant: Variant
      }[]
      readonly jobs: number
    })
  | (OfScenario & {
      readonly type: 'scenario-started'
      readonly scenario: string
      readonly title: string
      readonly variant: Variant
      readonly directory: string
    })
  | (OfScenario & { readonly type: 'phase'; readonly vm: string; readonly phase: Phase })
  | (OfScenario & { readonly type: 'vm-started'; readonly vm: string; readonly argv: readonly string[] })
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
  | (OfScenario & { readonly type: 'scenario-ended'; readonly result: ScenarioResult })
  /** Work for the run as a whole, such as the build of an image. */
  | (Stamped & { readonly type: 'run-note'; readonly text: string })
  | (Stamped & { readonly type: 'run-ended'; readonly result: RunResult })

export type RunEventSink = (event: RunEvent) => void
