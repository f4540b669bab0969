/**
 * What a person reads of a piece of evidence, without layout: what it says, what vouches for it. Every string is safe
 * to print: hex, numbers, names of ours, or escaped.
 */

import { type Certificate, commonName, nameText } from '../formats/x509.ts'

/** One line: what, its value, and a word about it. All safe to print. */
export interface PageRow {
  readonly label: string
  readonly value: string
  /** What a person would look up: the meaning of a bit field, the age of a date. */
  readonly note?: string
}

/** Rows under a heading. */
export interface PageSection {
  readonly title: string
  readonly rows: readonly PageRow[]
}

/** One link on the way from the evidence to what is trusted. */
export interface Voucher {
  /** `open`: nobody looked, since it was not asked for or nothing was given to look at. */
  readonly state: 'holds' | 'open'
  readonly text: string
}

/** The readable page of one piece of evidence; all text in it is safe to print on a terminal. */
export interface EvidencePage {
  /** "SNP report, version 3, of a Milan". */
  readonly title: string
  readonly says: readonly PageSection[]
  readonly vouchedBy: readonly Voucher[]
}

/** A row; an empty note is none. Never throws. */
export function row(label: string, value: string | number | bigint, note?: string): PageRow {
  return { label, value: `${value}`, ...(note !== undefined && note !== '' && { note }) }
}

/** A link that was checked and holds. Never throws. */
export const holds = (text: string): Voucher => ({ state: 'holds', text })
/** A link that nobody checked. Never throws. */
export const open = (text: string): Voucher => ({ state: 'open', text })

/**
 * A field of zeros or ones as words: 128 digits of nothing hide the fields that say something. Else lower-case hex.
 * Never throws.
 */
export function hexOrZeros(bytes: Uint8Array): string {
  if (bytes.every((byte) => byte === 0)) return 'all zero'
  return bytes.every((byte) => byte === 0xff) ? 'all ones' : Buffer.from(bytes).toString('hex')
}

/** "CN=SEV-Milan" of a long name; the whole of it where there is none. Escaped, so safe to print. Never throws. */
export function shortName(certificate: Certificate): string {
  return commonName(certificate.subject) ?? nameText(certificate.subject)
}

/** "2025-06-19 10:32 UTC": seconds matter to nobody here. Never throws for a valid date. Minutes, in UTC. */
export function day(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}
