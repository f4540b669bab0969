/** What a lab is made of. */
import type { GuestEnd } from '../machine/end.ts'
import type { Machine } from '../machine/vm.ts'
import type { Basis } from '../platforms/descriptor.ts'
import type { Scope } from '../system/scope.ts'
import type { ClaimBook } from '../verdict/claims.ts'
import type { Bench } from './bench.ts'
import type { RunEvent, Variant } from './events.ts'
import type { Processors } from './processors.ts'

export interface Budget {
  readonly vcpus: number
  readonly memoryMiB: number
  /** Upper bound for the whole scenario, in seconds, on a host without KVM. */
  readonly seconds: number
  /** Of a scenario that boots the states of power cuts: added for each that is asked for beyond the usual few. */
  readonly secondsPerState?: number
}

/** `ended` never rejects. */
export interface VmEnd {
  readonly name: string
  readonly ended: Promise<GuestEnd>
  /** Absent where a test stands in for it. */
  readonly machine?: Machine
  /** Puts a shell where the harness has taken the console for its commands; absent where it has not. `signal` ends the attempt. */
  giveShell?: ((signal?: AbortSignal) => Promise<void>) | undefined
}

type WithoutStamp<Event> = Event extends { readonly at: number } ? Omit<Event, 'at' | 'key'> : never
/** An event of one scenario, before it is stamped with time and key. */
export type ScenarioEvent = WithoutStamp<
  Exclude<RunEvent, { type: 'run-started' | 'run-extended' | 'run-note' | 'run-ended' }>
>

export interface LabSpec {
  readonly variant: Variant
  readonly basis: Basis
  readonly directory: string
  readonly bench: Bench
  readonly budget: Budget
  readonly secureBoot: boolean
  readonly scope: Scope
  readonly claims: ClaimBook
  readonly processors: Processors
  readonly signal: AbortSignal
  /** When the budget is spent; milliseconds since the epoch. */
  readonly endsAt: number
  /** Large files that are removed when the scenario passed; the lab adds to it. */
  readonly scratch: string[]
  /** Of every swtpm that served a VM; the lab adds to it. */
  readonly vtpmLogs: string[]
  /** How each QEMU process ended, or will; the lab adds to it. */
  readonly ends: VmEnd[]
  readonly emit: (event: ScenarioEvent) => void
  /** A false claim ends the scenario, so that somebody can look at what it was about. */
  readonly stopAtFailure?: boolean
}

/** Of one VM. */
export interface VmSpec extends LabSpec {
  readonly name: string
  /** Private directory of the VM, empty. */
  readonly directory: string
}
