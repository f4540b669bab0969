import type { RunResult } from '../run/events.ts'

export interface RunDemands {
  /** What was skipped for lack of hardware, or only emulated, counts as a failure of this host. */
  readonly requireHardware: boolean
  /** Exit code of the signal that interrupted the run, if one did. */
  readonly interrupted: number | undefined
}

const CLAIM_FALSE = 1
const HOST_LACKS = 3
const INFRASTRUCTURE = 4

/** A false claim outweighs everything: it was found, whatever else broke. */
export function runExitCode({ results }: RunResult, demands: RunDemands): number {
  if (demands.interrupted !== undefined) return demands.interrupted
  if (results.some((result) => result.outcome === 'fail')) return CLAIM_FALSE
  if (results.some((result) => result.outcome === 'error')) return INFRASTRUCTURE
  // Nothing that was asked for ran: to call that a success would be to pass wrongly.
  const ran = results.some((result) => result.outcome === 'pass')
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
