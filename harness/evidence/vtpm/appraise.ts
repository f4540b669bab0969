/** Claims of the runtime data that the hardware report is bound to. */
import type { Finding } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import type { AppraisalContext } from '../appraisal.ts'
import { hexOf } from '../checks.ts'
import { finding } from '../finding.ts'
import type { VtpmEndorsement } from './hcl.ts'

/** Longest rendering of a claim in a finding, in characters. */
const MAX_SHOWN = 200

/**
 * One `runtime-claim` for each claim that is not exactly what the policy requires. Microsoft, "Guest attestation for
 * confidential VMs". Never throws.
 */
export function appraiseHclClaims(
  { vmConfiguration, userData }: VtpmEndorsement,
  { policy }: Pick<AppraisalContext, 'policy'>,
): readonly Finding[] {
  const { hcl = {} } = policy
  const claims = Object.entries(hcl.vmConfiguration ?? {}).flatMap(([name, required]) => {
    // An own member only: the guest's JSON must not answer with what every object has.
    const got = Object.hasOwn(vmConfiguration, name) ? vmConfiguration[name] : undefined
    return got === required ? [] : [claimFinding(`vm-configuration, ${name}`, shown(required), shown(got))]
  })
  if (hcl.userData === undefined) return claims
  const got = userData === undefined ? 'none' : hexOf(userData)
  return got === hcl.userData ? claims : [...claims, claimFinding('user-data', hcl.userData, got)]
}

function claimFinding(what: string, expected: string, got: string): Finding {
  return finding('runtime-claim', `${escapeControls(what)} is not what the policy requires`, {
    expected,
    got,
  })
}

function shown(value: unknown): string {
  const text = escapeControls(value === undefined ? 'none' : (JSON.stringify(value) ?? 'none'))
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}
