/** Logs made by hand, for tests: what a firmware would write. */

import { ByteWriter } from '../../../base/bytes.ts'
import { DIGEST_LENGTHS, type DigestAlgorithm, digest } from '../../../base/digest.ts'
import { hashAlgorithmId } from '../../tpm-algorithms.ts'
import { EV } from '../event-types.ts'

export interface SyntheticEvent {
  readonly register: number
  readonly type: number
  readonly data: Uint8Array | string
  /** What is hashed, where it is not `data`. */
  readonly measured?: Uint8Array | string
}

/** A crypto-agile log with a header and the given events, digested in every bank. */
export function syntheticLog(
  events: readonly SyntheticEvent[],
  { banks = ['sha256'] }: { readonly banks?: readonly DigestAlgorithm[] } = {},
): Buffer {
  const writer = new ByteWriter({ what: 'synthetic log' })
  const header = specIdEvent(banks)
  writer.u32le(0, 'pcrIndex').u32le(EV.NO_ACTION, 'eventType').zeros(20)
  writer.u32le(header.length, 'eventSize').bytes(header, 'event')
  for (const event of events) writeEvent2(writer, event, banks)
  return writer.finish()
}

/** A log in the format before TPM 2.0: SHA-1 only, no header. */
export function syntheticSha1Log(events: readonly SyntheticEvent[]): Buffer {
  const writer = new ByteWriter({ what: 'synthetic SHA-1 log' })
  for (const event of events) {
    const data = Buffer.from(event.data)
    writer.u32le(event.register, 'pcrIndex').u32le(event.type, 'eventType')
    writer.bytes(measuredDigest(event, 'sha1'), 'digest').u32le(data.length, 'eventSize').bytes(data, 'event')
  }
  return writer.finish()
}

function specIdEvent(banks: readonly DigestAlgorithm[]): Buffer {
  const writer = new ByteWriter({ what: 'Spec ID event' })
  writer.bytes(Buffer.from('Spec ID Event03\0'), 'signature').u32le(0, 'platformClass')
  writer.u8(0, 'minor').u8(2, 'major').u8(0, 'errata').u8(2, 'uintnSize').u32le(banks.length, 'count')
  for (const bank of banks)
    writer.u16le(hashAlgorithmId(bank), 'algorithmId').u16le(DIGEST_LENGTHS[bank], 'digestSize')
  return writer.u8(0, 'vendorInfoSize').finish()
}

function writeEvent2(writer: ByteWriter, event: SyntheticEvent, banks: readonly DigestAlgorithm[]): void {
  const data = Buffer.from(event.data)
  writer.u32le(event.register, 'pcrIndex').u32le(event.type, 'eventType').u32le(banks.length, 'count')
  for (const bank of banks)
    writer.u16le(hashAlgorithmId(bank), 'hashAlg').bytes(measuredDigest(event, bank), 'digest')
  writer.u32le(data.length, 'eventSize').bytes(data, 'event')
}

function measuredDigest(event: SyntheticEvent, bank: DigestAlgorithm): Buffer {
  if (event.type === EV.NO_ACTION) return Buffer.alloc(DIGEST_LENGTHS[bank])
  return digest(bank, event.measured ?? event.data)
}
