/**
 * A scenario's result as assertions of the `tap` package. Only escaped text goes in: what a guest printed may
 * look like TAP, and must not become a test point, a plan or a bail-out.
 */
import { escapeControls } from '../base/text.ts'
import type { ClaimResult, ScenarioResult } from '../run/events.ts'

/** The part of tap's `Test` that is used. */
export interface TapAssertions {
  pass(...message: [message: string] | [message: string, extra: object]): unknown
  fail(...message: [message: string] | [message: string, extra: object]): unknown
}

/** One assertion a claim, and one more where the scenario broke or was skipped. */
export function assertResult(t: TapAssertions, result: ScenarioResult): void {
  for (const claim of result.claims) assertClaim(t, claim)
  const reason = escapeControls(result.reason)
  if (result.outcome === 'skip') t.pass('runs on this host', { skip: reason })
  if (result.outcome === 'error')
    t.fail('the infrastructure works', { reason, directory: escapeControls(result.dir) })
  if (result.outcome === 'fail' && result.claims.every((claim) => claim.outcome !== 'fail'))
    t.fail('the scenario passes', { reason, directory: escapeControls(result.dir) })
}

function assertClaim(t: TapAssertions, claim: ClaimResult): void {
  const name = `${escapeControls(claim.claim)} (${claim.basis})`
  const got = escapeControls(claim.got)
  if (claim.outcome === 'pass') t.pass(name)
  else if (claim.outcome === 'skip') t.pass(name, { skip: got })
  else t.fail(name, { expected: escapeControls(claim.expected), got })
}
