/** How the end of a scenario becomes its outcome. */
import { AttestbedError, type HostCode, HostError } from '../base/errors.ts'
import type { ClaimResult, Outcome } from './events.ts'

export interface Ending {
  readonly claims: readonly ClaimResult[]
  readonly undecided: readonly string[]
  /** What the scenario's function threw, if it did. */
  readonly thrown?: unknown
}

export interface Judgement {
  readonly outcome: Outcome
  readonly reason: string
}

/** What a host lacks before anything starts; a disk that fills up in mid-run is no such thing. */
const LACKING: ReadonlySet<HostCode> = new Set<HostCode>([
  ...([
    'platform-unusable',
    'image-lacks',
    'program-missing',
    'program-too-old',
    'not-enough-memory',
  ] as const),
  ...(['no-user-namespaces', 'unsupported-host', 'hardware-required', 'setup-missing'] as const),
])

/**
 * A false claim is a `fail`, whatever broke afterwards. What the host lacks is a `skip`; anything else that
 * was thrown is an `error`, and so is a scenario that ended without deciding all its claims.
 */
export function judge({ claims, undecided, thrown }: Ending): Judgement {
  const falseClaim = claims.find((claim) => claim.outcome === 'fail')
  if (falseClaim)
    return {
      outcome: 'fail',
      reason: `claim "${falseClaim.id}" is false: ${falseClaim.claim}${thrown === undefined ? '' : `; then ${describe(thrown)}`}`,
    }
  if (thrown instanceof HostError && LACKING.has(thrown.code))
    return { outcome: 'skip', reason: describe(thrown) }
  if (thrown !== undefined) return { outcome: 'error', reason: describe(thrown) }
  if (undecided.length > 0)
    return {
      outcome: 'error',
      reason: `ended without deciding ${undecided.join(', ')}; every claim must be decided`,
    }
  if (claims.every((claim) => claim.outcome === 'skip'))
    return { outcome: 'skip', reason: 'hardware-required: every claim needs hardware' }
  return { outcome: 'pass', reason: '' }
}

/** `code: message` for our own errors; for anything else the stack, since it is our bug. */
export function describe(error: unknown): string {
  if (error instanceof AttestbedError) return `${error.code}: ${error.message}`
  return `bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
}
