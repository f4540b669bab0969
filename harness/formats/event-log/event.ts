import type { DigestAlgorithm } from '../../base/digest.ts'

/** An event log as firmware leaves it: TCG PC Client Platform Firmware Profile (PFP) 1.06, "Event Logging". */

/** A digest of one event in one bank; `bytes` is as long as the bank's algorithm. TPM 2.0 Part 2, TPMT_HA. */
export interface EventDigest {
  /** TPM_ALG_ID. */
  readonly algorithm: number
  /** Undefined for a bank that we cannot compute (SM3, SHA-3). */
  readonly bank: DigestAlgorithm | undefined
  readonly bytes: Uint8Array
}

/**
 * One entry. Only its digests reach a register: `type` and `data` are whatever the writer of the log says, until a
 * digest over them is compared. PFP 1.06, TCG_PCR_EVENT2 and TCG_PCClientPCREvent.
 */
export interface LogEvent {
  /** Position in the log, from 0; the header of a crypto-agile log counts. */
  readonly number: number
  /** Of its first byte in the log. */
  readonly offset: number
  /** PCR index, or in a CC log the measurement register: 0 MRTD, 1 to 4 RTMR0 to 3. */
  readonly register: number
  /** EV_…: see event-types.ts. Unknown values are kept. */
  readonly type: number
  readonly digests: readonly EventDigest[]
  /** A view of the log; at most MAX_EVENT_BYTES long. */
  readonly data: Uint8Array
}

/** A bank that the header names. PFP 1.06, TCG_EfiSpecIdEventAlgorithmSize. */
export interface BankDescription {
  readonly algorithm: number
  readonly bank: DigestAlgorithm | undefined
  readonly digestBytes: number
}

/** TCG_EfiSpecIdEvent of PFP 1.06. */
export interface SpecId {
  readonly platformClass: number
  /** "2.0", errata 0 is left out. */
  readonly version: string
  /** Bytes of a UINTN: 4 or 8. */
  readonly uintnBytes: number
  readonly vendorInfo: Uint8Array
}

/**
 * A whole log, at most 16 MiB and 65536 events. Offsets are in bytes from its start; byte fields are views of it. PFP
 * 1.06, "Event Logging".
 */
export interface EventLog {
  /** `crypto-agile`: TCG_PCR_EVENT2 behind a Spec ID event; `sha1`: TCG_PCClientPCREvent only. */
  readonly format: 'crypto-agile' | 'sha1'
  readonly specId: SpecId | undefined
  readonly banks: readonly BankDescription[]
  /** In the order of the log, its header included. */
  readonly events: readonly LogEvent[]
  /** Bytes from the start of the log that are events. */
  readonly bytesUsed: number
  /**
   * What follows the last event: none, or what lies behind an entry with the register 0xFFFFFFFF (the padding of a CC
   * log area, the AIK that Windows appends). Nothing in it is measured, so nothing reads it.
   */
  readonly trailer: Uint8Array
}

/**
 * The digest of `event` in `bank`, as long as the bank's; undefined where the log does not have that bank. PFP 1.06,
 * 10.2.1 and 10.2.2. Never throws.
 */
export function digestIn(event: LogEvent, bank: DigestAlgorithm): Uint8Array | undefined {
  return event.digests.find((digest) => digest.bank === bank)?.bytes
}
