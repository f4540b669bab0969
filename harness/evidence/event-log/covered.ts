/** An event log on its way: parsed, and with what covers its registers. */
import type { EventLog } from '../../formats/event-log/event.ts'
import type { SystemdRecord } from '../../formats/event-log/systemd-log.ts'
import type { VerifiedTdxQuote } from '../tdx/verify.ts'
import type { VerifiedTpmQuotes } from '../tpm/verified.ts'
import type { BootReading } from './read.ts'
import type { VerifiedEventLog } from './verify.ts'

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

export interface CoveredEventLog {
  readonly verified: VerifiedEventLog
  readonly reading: BootReading
  readonly cover: Cover
}
