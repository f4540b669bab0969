import type { SvsmVtpmEndorsement } from '../vtpm/svsm.ts'
import type { VerifiedIdBlock } from './id-block.ts'
import type { VerifiedSnpReport } from './verify.ts'

/** A report, and what came beside it and is bound to it. AMD 56860, 7.3. */
export interface VerifiedSnpEvidence {
  readonly snp: VerifiedSnpReport
  /** The vTPM of an SVSM, where its manifest was given. */
  readonly svsm: SvsmVtpmEndorsement | undefined
  /** A key was shown to be in that vTPM, by a credential for its EK. Absent: nobody looked. */
  readonly akBound?: true
  /** What the guest was launched with, where that was given. */
  readonly idBlock: VerifiedIdBlock | undefined
}
