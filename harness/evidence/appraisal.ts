import type { ResolvedPolicy } from './policy/resolve.ts'

/** What an appraisal holds verified evidence against. No appraisal reads a clock. */
export interface AppraisalContext {
  readonly policy: ResolvedPolicy
  /** What the evidence must be bound to, 1 to 64 bytes; undefined where freshness comes from elsewhere. */
  readonly nonce?: Uint8Array | undefined
  readonly at: Date
}
