/**
 * What a person reads of a piece of evidence, without layout: what it says, what vouches for it. Every string is safe
 * to print: hex, numbers, names of ours, or escaped.
 */

export interface PageRow {
  readonly label: string
  readonly value: string
  /** What a person would look up: the meaning of a bit field, the age of a date. */
  readonly note?: string
}

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

export interface EvidencePage {
  /** "SNP report, version 3, of a Milan". */
  readonly title: string
  readonly says: readonly PageSection[]
  readonly vouchedBy: readonly Voucher[]
}

export function row(label: string, value: string | number | bigint, note?: string): PageRow {
  return { label, value: `${value}`, ...(note !== undefined && note !== '' && { note }) }
}

export const holds = (text: string): Voucher => ({ state: 'holds', text })
export const open = (text: string): Voucher => ({ state: 'open', text })

/** A field of zeros as a word: 128 digits of nothing hide the fields that say something. */
export function hexOrZeros(bytes: Uint8Array): string {
  return bytes.every((byte) => byte === 0) ? 'all zero' : Buffer.from(bytes).toString('hex')
}

/** "2025-06-19 10:32 UTC": seconds matter to nobody here. */
export function day(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}
