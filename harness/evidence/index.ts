/**
 * The library: what `attestbed verify` and `attestbed inspect` do, and its parts. Bytes in, values out: nothing here
 * opens a file or a connection, or reads a clock.
 *
 * Whole: `verifyEvidence` takes evidence of any kind with what vouches for it, and gives a verdict with all findings. By
 * parts: `parseX` (FormatError), `verifyX` (VerifyError at the first break of authenticity), `appraiseX` (findings).
 */

export { AppraiseError, type Finding, FormatError, UsageError, VerifyError } from '../base/errors.ts'
export type { EventLog } from '../formats/event-log/event.ts'
export { parseEventLog } from '../formats/event-log/parse.ts'
export { parseHclReport } from '../formats/hcl-report.ts'
export { parseSnpReport, type SnpReport } from '../formats/snp/report.ts'
export { parseTdxQuote, type TdxQuote } from '../formats/tdx/quote.ts'
export { type Certificate, parseCertificate } from '../formats/x509.ts'
export type { AppraisalContext } from './appraisal.ts'
export { readEndorsementFiles } from './endorsements.ts'
export { appraiseEventLog } from './event-log/appraise.ts'
export { type BootReading, readEventLog } from './event-log/read.ts'
export { type VerifiedEventLog, verifyEventLog } from './event-log/verify.ts'
export type { Fields, FieldValue } from './examination.ts'
export { type FindingCode, mustBeAcceptable } from './finding.ts'
export { EVIDENCE_KINDS, type EvidenceKind } from './kind.ts'
export type { EvidencePage } from './page.ts'
export { parsePolicy } from './policy/parse.ts'
export { type ResolvedPolicy, resolveFiles } from './policy/resolve.ts'
export type { Policy } from './policy/schema.ts'
export { STRICT } from './policy/strict.ts'
export { appraiseSnpReport } from './snp/appraise.ts'
export { type VerifiedSnpChain, verifySnpChain } from './snp/chain.ts'
export { parseSnpEvidence, type SnpEvidence } from './snp/parse.ts'
export { AMD_ROOTS } from './snp/roots.ts'
export { type SnpEndorsements, type VerifiedSnpReport, verifySnpReport } from './snp/verify.ts'
export { appraiseTdxQuote } from './tdx/appraise.ts'
export { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './tdx/collateral.ts'
export { INTEL_TDX_ROOT } from './tdx/root.ts'
export { type VerifiedTdxQuote, verifyTdxQuote } from './tdx/verify.ts'
export { appraiseTpmQuotes } from './tpm/appraise.ts'
export { makeCredential, verifyActivation } from './tpm/credential.ts'
export { type TpmQuote, type VerifiedQuote, verifyTpmQuote } from './tpm/quote.ts'
export { readAttestationKey, readTpmEvidence } from './tpm/quote-file.ts'
export {
  type InspectRequest,
  inspectEvidence,
  type Verdict,
  type VerifyRequest,
  verifyEvidence,
} from './verify-evidence.ts'
export { type VtpmEndorsement, verifyHclEndorsement } from './vtpm/hcl.ts'
export { verifySvsmEndorsement } from './vtpm/svsm.ts'
