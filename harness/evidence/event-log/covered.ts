/** An event log on its way: parsed, and with what covers its registers. */
import type { EventLog } from '../../formats/event-log/event.ts'
import type { SystemdRecord } from '../../formats/event-log/systemd-log.ts'
import type { VerifiedTdxQuote } from '../tdx/verify.ts'
import type { VerifiedTpmQuotes } from '../tpm/verified.ts'
import type { BootReading } from './read.ts'
import type { VerifiedEventLog } from './verify.ts'

/**
 * The logs of firmware (PFP 1.06, "Event Logging") and user space (systemd, docs/TPM2_PCR_MEASUREMENTS.md), as they
 * are.
 */
export interface ParsedEventLog {
  readonly log: EventLog
  readonly systemd: readonly SystemdRecord[]
  /** The file that the log came in, where that has quotes too. */
  readonly carriedQuotes: readonly Uint8Array[]
}

/** What covers the log's registers. */
export type Cover =
  | { readonly kind: 'tdx'; readonly quote: VerifiedTdxQuote }
  | { readonly kind: 'tpm'; readonly quotes: VerifiedTpmQuotes }

/** A log that replays to vouched registers (TPM 2.0 Part 3, TPM2_PCR_Extend), and what it says. */
export interface CoveredEventLog {
  readonly verified: VerifiedEventLog
  readonly reading: BootReading
  readonly cover: Cover
}
