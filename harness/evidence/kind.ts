/** As `--kind` spells them. */
export const EVIDENCE_KINDS = ['snp-report', 'tdx-quote', 'tpm-quote', 'event-log', 'hcl-report'] as const
/** What a file of evidence is. */
export type EvidenceKind = (typeof EVIDENCE_KINDS)[number]
