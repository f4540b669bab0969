import type { SvsmVtpmEndorsement } from '../vtpm/svsm.ts'
import type { VerifiedIdBlock } from './id-block.ts'
import type { VerifiedSnpReport } from './verify.ts'

/** A report, and what came beside it and is bound to it. */
export interface VerifiedSnpEvidence {
  readonly snp: VerifiedSnpReport
  /** The vTPM of an SVSM, where its manifest was given. */
  readonly svsm: SvsmVtpmEndorsement | undefined
  /** What the guest was launched with, where that was given. */
  readonly idBlock: VerifiedIdBlock | undefined
}
