/** HCL reports on their way: parsed, and with everything that vouches for the vTPM. */
import type { HclReport } from '../../formats/hcl-report.ts'
import type { CoveredEventLog, ParsedEventLog } from '../event-log/covered.ts'
import type { VerifiedSnpReport } from '../snp/verify.ts'
import type { VerifiedTdxQuote } from '../tdx/verify.ts'
import type { VerifiedTpmQuotes } from '../tpm/verified.ts'
import type { AzureEvidence } from './azure-evidence.ts'
import type { VtpmEndorsement } from './hcl.ts'

/**
 * What came in the file: the report, and in a container what belongs to it; and the log that was given beside it.
 * Microsoft, "Guest attestation for confidential VMs".
 */
export type ParsedHcl = Pick<AzureEvidence, 'hcl'> &
  Partial<AzureEvidence> & { readonly log?: ParsedEventLog | undefined }

/** The report that endorses the vTPM: AMD 56860, table 23, or Intel TDX DCAP Quoting Library API, "Quote Format". */
export type VerifiedHardware =
  | { readonly kind: 'snp'; readonly snp: VerifiedSnpReport }
  | { readonly kind: 'tdx'; readonly tdx: VerifiedTdxQuote }

/** A vTPM whose keys the hardware vouches for, and its quotes. Microsoft, "Guest attestation for confidential VMs". */
export interface VerifiedHcl {
  readonly hcl: HclReport
  readonly hardware: VerifiedHardware
  readonly endorsement: VtpmEndorsement
  /** By the endorsed AK; undefined where none was given. */
  readonly quotes: VerifiedTpmQuotes | undefined
  /** What the quotes cover of the log; undefined where none was given. */
  readonly log: CoveredEventLog | undefined
}
