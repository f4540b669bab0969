/** What a policy demands of evidence that was not there: leaving evidence out must not meet a demand on it. */
import type { Finding } from '../../base/errors.ts'
import { finding } from '../finding.ts'
import type { ResolvedPolicy } from './resolve.ts'

/** Sections of a policy that each are about one kind of evidence. */
export type PolicySection = 'snp' | 'tdx' | 'tpm' | 'eventLog' | 'hcl'

const EVIDENCE: Readonly<Record<PolicySection, string>> = {
  snp: 'an SNP report',
  tdx: 'a TDX quote',
  tpm: 'a TPM quote',
  eventLog: 'an event log',
  hcl: 'an HCL report',
}

/**
 * One finding `evidence-missing` for each section that demands something and was held against nothing; `appraised` are
 * those that were. A guest runs on one of SNP and TDX, so of a policy for both either meets the demand on both;
 * hardware that the policy does not speak of meets none. Never throws.
 */
export function unmetSections(
  policy: ResolvedPolicy,
  appraised: readonly PolicySection[],
): readonly Finding[] {
  const onHardware = (['snp', 'tdx'] as const).some(
    (section) => appraised.includes(section) && policy[section] !== undefined,
  )
  const open = (Object.keys(EVIDENCE) as PolicySection[]).filter((section) => {
    if (Object.keys(policy[section] ?? {}).length === 0 || appraised.includes(section)) return false
    return !(onHardware && (section === 'snp' || section === 'tdx'))
  })
  return open.map((section) =>
    finding('evidence-missing', `the policy has rules under ${section}, and nothing was held against them`, {
      expected: EVIDENCE[section],
      got: 'none',
    }),
  )
}
