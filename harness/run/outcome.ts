/** How the end of a scenario becomes its outcome. */
import { AttestbedError, type HostCode, HostError } from '../base/errors.ts'
import type { ClaimResult, Outcome, ScenarioResult } from './events.ts'

export interface Ending {
  readonly claims: readonly ClaimResult[]
  readonly undecided: readonly string[]
  /** What the scenario's function threw, if it did. */
  readonly thrown?: unknown
  /** What broke below the scenario: no claim that was decided beside it is worth anything. */
  readonly fault?: unknown
}

export interface Judgement {
  readonly outcome: Outcome
  readonly reason: string
  /** What a person can do, where the error that ended the scenario says so. */
  readonly hint?: string
}

/** What a host lacks before anything starts; a disk that fills up in mid-run is no such thing. */
const LACKING: ReadonlySet<HostCode> = new Set<HostCode>([
  ...([
    'platform-unusable',
    'image-lacks',
    'scenario-lacks',
    'program-missing',
    'program-too-old',
    'not-enough-memory',
  ] as const),
  ...([
    'not-enough-cores',
    'not-enough-disk',
    'no-guest-slot',
    'below-need',
    'marked-skip',
    'not-reached',
  ] as const),
  ...([
    'no-user-namespaces',
    'unsupported-host',
    'hardware-required',
    'emulation-required',
    'setup-missing',
  ] as const),
])

/**
 * A fault of the infrastructure is an `error`, whatever the claims say: it may be what they saw. Without one a false
 * claim is a `fail`, whatever was thrown afterwards. What the host lacks is a `skip`; anything else that
 * was thrown is an `error`, and so is a scenario that ended without deciding all its claims.
 */
export function judge({ claims, undecided, thrown, fault }: Ending): Judgement {
  if (fault !== undefined)
    return { outcome: 'error', reason: `${describe(fault)}; the claims prove nothing`, ...hintOf(fault) }
  const falseClaim = claims.find((claim) => claim.outcome === 'fail')
  if (falseClaim)
    return {
      outcome: 'fail',
      reason: `claim "${falseClaim.id}" is false: ${falseClaim.claim}${thrown === undefined ? '' : `; then ${describe(thrown)}`}`,
    }
  // A host on which claims were decided had what it takes: what it lacks since then broke under the scenario.
  if (thrown instanceof HostError && LACKING.has(thrown.code) && claims.length === 0)
    return { outcome: 'skip', reason: describe(thrown), ...hintOf(thrown) }
  if (thrown !== undefined) return { outcome: 'error', reason: describe(thrown), ...hintOf(thrown) }
  if (undecided.length > 0)
    return {
      outcome: 'error',
      reason: `ended without deciding ${undecided.join(', ')}; every claim must be decided`,
    }
  if (claims.every((claim) => claim.outcome === 'skip'))
    return { outcome: 'skip', reason: 'hardware-required: every claim needs hardware' }
  return { outcome: 'pass', reason: '' }
}

/** Whether the run fails for it: what the matrix marks as unstable is shown, and nothing to fail or to stop for. */
export function failsRun({ outcome, unstable }: Pick<ScenarioResult, 'outcome' | 'unstable'>): boolean {
  return unstable === undefined && (outcome === 'fail' || outcome === 'error')
}

function hintOf(error: unknown): Pick<Judgement, 'hint'> {
  return error instanceof AttestbedError && error.hint !== undefined ? { hint: error.hint } : {}
}

/** `code: message` for our own errors; for anything else the stack, since it is our bug. */
export function describe(error: unknown): string {
  if (error instanceof AttestbedError) return `${error.code}: ${error.message}`
  return `bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
}
