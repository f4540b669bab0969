import type { RunResult } from '../run/events.ts'

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
export function runExitCode({ results: all, expired = [] }: RunResult, demands: RunDemands): number {
  if (demands.interrupted !== undefined) return demands.interrupted
  // What the matrix marks as unstable was shown, and is nothing to fail for.
  const results = all.filter(
    ({ outcome, unstable }) => unstable === undefined || outcome === 'pass' || outcome === 'skip',
  )
  if (results.some((result) => result.outcome === 'fail')) return CLAIM_FALSE
  if (results.some((result) => result.outcome === 'error')) return INFRASTRUCTURE
  if (expired.length > 0) return MATRIX_OUTDATED
  // Nothing that was asked for ran: to call that a success would be to pass wrongly.
  const ran = all.some(({ outcome }) => outcome === 'pass' || outcome === 'fail')
  if (!ran && all.some(({ outcome }) => outcome === 'error')) return INFRASTRUCTURE
  if (!ran && !printed(results)) return HOST_LACKS
  const unproven = results.some(
    ({ outcome, claims }) =>
      outcome === 'skip' || claims.some((claim) => claim.outcome === 'skip' || claim.basis === 'emulated'),
  )
  return demands.requireHardware && unproven ? HOST_LACKS : 0
}

/** Only command lines were asked for, and they were given. */
function printed(results: RunResult['results']): boolean {
  return results.some((result) => result.reason.startsWith('argv-printed'))
}
