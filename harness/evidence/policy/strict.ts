import type { ResolvedPolicy } from './resolve.ts'

/**
 * What holds where no policy is given: the strict defaults of every kind, and no reference values. A constant of its
 * own, so that checking without a policy file does not load what reads one.
 */
export const STRICT: ResolvedPolicy = { snp: {}, tdx: {}, tpm: {}, eventLog: {}, hcl: {} }
