export const EVIDENCE_KINDS = ['snp-report', 'tdx-quote', 'tpm-quote', 'event-log', 'hcl-report'] as const
export type EvidenceKind = (typeof EVIDENCE_KINDS)[number]
