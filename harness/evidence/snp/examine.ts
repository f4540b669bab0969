/** SNP reports as one kind of evidence among others. */
import { readEndorsementFiles } from '../endorsements.ts'
import type { Steps } from '../examination.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseSnpReport } from './appraise.ts'
import { describeSnpReport } from './describe.ts'
import { parseSnpEvidence, type SnpEvidence } from './parse.ts'
import { simulatedRoots } from './simulated-roots.ts'
import { type VerifiedSnpReport, verifySnpReport } from './verify.ts'

export type SnpRequest = Pick<VerifyRequest, 'certificates' | 'crls' | 'policy' | 'nonce' | 'at'>

export function snpSteps(bytes: Uint8Array, request: SnpRequest): Steps<SnpEvidence, VerifiedSnpReport> {
  return {
    kind: 'snp-report',
    parse: () => parseSnpEvidence(bytes),
    verify: (evidence) => verifySnpEvidence(evidence, request),
    appraise: (verified) => appraiseSnpReport(verified, request),
    describe: ({ report }, verified) => describeSnpReport(report, verified),
  }
}

/** With the certificates that came with the report and those that were given. Throws FormatError and VerifyError. */
export function verifySnpEvidence(
  { report, certificates, crls }: Pick<SnpEvidence, 'report' | 'certificates' | 'crls'>,
  request: Pick<VerifyRequest, 'certificates' | 'crls' | 'policy' | 'at'>,
): VerifiedSnpReport {
  const given = readEndorsementFiles(request)
  const all = [...given.certificates, ...certificates]
  const endorsements = {
    certificates: all,
    crls: [...given.crls, ...crls],
    roots: simulatedRoots(all, request),
  }
  return verifySnpReport(report, endorsements, { at: request.at })
}
