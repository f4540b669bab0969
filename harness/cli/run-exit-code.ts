import type { RunResult } from '../run/events.ts'
import { failsRun } from '../run/outcome.ts'

export interface RunDemands {
  /** What was skipped for lack of hardware, or only emulated, counts as a failure of this host. */
  readonly requireHardware: boolean
  /** Exit code of the signal that interrupted the run, if one did. */
  readonly interrupted: number | undefined
}

const CLAIM_FALSE = 1
/** The matrix file has to be changed, as with any other mistake in it. */
const MATRIX_OUTDATED = 2
const HOST_LACKS = 3
const INFRASTRUCTURE = 4

/** A false claim outweighs everything: it was found, whatever else broke. */
export function runExitCode({ results, expired = [], otherShards }: RunResult, demands: RunDemands): number {
  if (demands.interrupted !== undefined) return demands.interrupted
  const failing = results.filter(failsRun)
  if (failing.some(({ outcome }) => outcome === 'fail')) return CLAIM_FALSE
  if (failing.length > 0) return INFRASTRUCTURE
  if (expired.length > 0) return MATRIX_OUTDATED
  // A part of a plan that others have more of.
  if (results.length === 0 && otherShards !== undefined) return 0
  // Nothing that was asked for holds: to call that a success would be to pass wrongly, whatever is forgiven.
  if (!results.some(({ outcome }) => outcome === 'pass') && !printed(results)) return nothingHolds(results)
  // Of all: a mark says that a fail is known, not that hardware proved anything.
  return demands.requireHardware && results.some(isUnproven) ? HOST_LACKS : 0
}

/**
 * What a launch comes to is rehearsed or predicted on every host, on one with the hardware, too: that is no lack. But a
 * scenario in which nothing was proven by hardware has proven nothing that the user asked for.
 */
function isUnproven({ outcome, claims, variant }: RunResult['results'][number]): boolean {
  return (
    outcome !== 'pass' ||
    variant.emulatedOn !== undefined ||
    claims.some((claim) => claim.outcome === 'skip' || claim.basis === 'emulated') ||
    !claims.some((claim) => claim.basis === 'hardware')
  )
}

/** Of results none of which is a pass: as if nothing were marked. */
function nothingHolds(results: RunResult['results']): number {
  if (results.some(({ outcome }) => outcome === 'fail')) return CLAIM_FALSE
  if (results.some(({ outcome }) => outcome === 'error')) return INFRASTRUCTURE
  return HOST_LACKS
}

/** Only command lines were asked for, and they were given. */
function printed(results: RunResult['results']): boolean {
  return results.some((result) => result.reason.startsWith('argv-printed'))
}
