/** What kind of evidence bytes are. A guess by their first fields: the parser of the kind has the last word. */
import { FormatError } from '../base/errors.ts'

export const EVIDENCE_KINDS = ['snp-report', 'tdx-quote', 'tpm-quote', 'event-log', 'hcl-report'] as const
export type EvidenceKind = (typeof EVIDENCE_KINDS)[number]
