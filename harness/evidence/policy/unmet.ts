/** What a policy demands of evidence that was not there: leaving evidence out must not meet a demand on it. */
import type { Finding } from '../../base/errors.ts'
import { finding } from '../finding.ts'
import type { ResolvedPolicy } from './resolve.ts'

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
 * those that were. `snp` and `tdx` stand for each other: a guest runs on one of them, so either meets the demand on both.
 */
export function unmetSections(
  policy: ResolvedPolicy,
  appraised: readonly PolicySection[],
): readonly Finding[] {
  const onHardware = appraised.includes('snp') || appraised.includes('tdx')
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
