/** TCG event logs, TPM 2.0 and older, and the CC event log of a TD: PFP 1.06, "Event Logging". */
import { ByteReader } from '../../base/bytes.ts'
import { hashAlgorithm } from '../tpm2/hash-algorithms.ts'
import type { BankDescription, EventDigest, EventLog, LogEvent, SpecId } from './event.ts'
import { EV } from './event-types.ts'

/**
 * Far above any firmware's log area (64 KiB in practice); bounds what a hostile log makes us read. 16 MiB; PFP 1.06
 * sets no limit.
 */
export const MAX_LOG_BYTES = 16 * 1024 * 1024
/** Real logs have about 100; the smallest entry has 32 bytes (PFP 1.06, 10.2.1). PFP 1.06 sets no limit. */
export const MAX_EVENTS = 65_536
/** A whole dbx with room to spare. 1 MiB; PFP 1.06 sets no limit. */
export const MAX_EVENT_BYTES = 1024 * 1024
/** TPM implementations have at most this many banks (HASH_COUNT). */
const MAX_BANKS = 16
/** PC Client PTP: PCR 0 to 23. A CC log has 0 to 4. */
const MAX_REGISTER = 23
/** Ends the entries: the padding of a CC log area, or the trailer of Windows' log. */
const END_OF_EVENTS = 0xffff_ffff

const SHA1_BANK: BankDescription = { algorithm: 4, bank: 'sha1', digestBytes: 20 }
const SPEC_ID_03 = 'Spec ID Event03\0'
const STARTUP_LOCALITY = 'StartupLocality\0'

/**
 * Parses a log: `/sys/kernel/security/tpm0/binary_bios_measurements`, or the area that a CCEL table points to, padded
 * or not; at most 16 MiB, 65536 events, 1 MiB in one of them (PFP 1.06, "Event Logging"). Both formats are recognised
 * by the first entry. Throws FormatError with field and offset: `truncated`, `too-large`, `bad-value`, `reserved-bit`.
 * A log that is cut at an entry's boundary is a valid shorter log: only comparing its replay with a register shows that
 * something is missing.
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  const reader = new ByteReader(bytes, { what: 'event log' })
  if (bytes.length > MAX_LOG_BYTES)
    throw reader.error('too-large', 'log', `has ${bytes.length} bytes, at most ${MAX_LOG_BYTES} are read`)
  const first = readLegacyEvent(reader, 0)
  const header = isSpecId03(first) ? readHeader(reader, first) : undefined
  const banks = header?.banks ?? [SHA1_BANK]
  const events = [first]
  while (reader.remaining > 0 && !atEnd(reader, bytes)) {
    if (events.length === MAX_EVENTS)
      throw reader.error('too-large', 'log', `has more than ${MAX_EVENTS} events`)
    const number = events.length
    events.push(header ? readEvent2(reader, banks, number) : readLegacyEvent(reader, number))
  }
  checkStartupLocality(reader, events)
  return {
    format: header ? 'crypto-agile' : 'sha1',
    specId: header?.specId,
    banks,
    events,
    bytesUsed: reader.offset,
    trailer: reader.rest(),
  }
}

/** TCG_PCClientPCREvent, PFP 1.06, 10.2.1. */
function readLegacyEvent(reader: ByteReader, number: number): LogEvent {
  const offset = reader.offset
  const register = readRegister(reader)
  const type = reader.u32le('eventType')
  const bytes = reader.bytes(SHA1_BANK.digestBytes, 'digest')
  const data = readData(reader)
  return { number, offset, register, type, digests: [{ algorithm: 4, bank: 'sha1', bytes }], data }
}

/** TCG_PCR_EVENT2, PFP 1.06, 10.2.2: one digest for each bank that the header names, in any order. */
function readEvent2(reader: ByteReader, banks: readonly BankDescription[], number: number): LogEvent {
  const offset = reader.offset
  const register = readRegister(reader)
  const type = reader.u32le('eventType')
  const count = reader.u32le('digests.count')
  if (count !== banks.length)
    throw reader.error(
      'bad-value',
      'digests.count',
      `is ${count}, the header names ${banks.length} banks`,
      offset + 8,
    )
  const digests: EventDigest[] = []
  for (let index = 0; index < count; index++) digests.push(readDigest(reader, banks, digests))
  return { number, offset, register, type, digests, data: readData(reader) }
}

function readDigest(
  reader: ByteReader,
  banks: readonly BankDescription[],
  before: readonly EventDigest[],
): EventDigest {
  const offset = reader.offset
  const algorithm = reader.u16le('hashAlg')
  const found = banks.find((each) => each.algorithm === algorithm)
  if (!found) throw reader.error('bad-value', 'hashAlg', `is ${hex(algorithm)}, not in the header`, offset)
  if (before.some((each) => each.algorithm === algorithm))
    throw reader.error('bad-value', 'hashAlg', `${hex(algorithm)} occurs twice`, offset)
  return { algorithm, bank: found.bank, bytes: reader.bytes(found.digestBytes, 'digest') }
}

function readRegister(reader: ByteReader): number {
  const offset = reader.offset
  const register = reader.u32le('pcrIndex')
  if (register > MAX_REGISTER)
    throw reader.error('bad-value', 'pcrIndex', `is ${register}, 0 to ${MAX_REGISTER} exist`, offset)
  return register
}

function readData(reader: ByteReader): Uint8Array {
  const offset = reader.offset
  const size = reader.u32le('eventSize')
  if (size > MAX_EVENT_BYTES)
    throw reader.error('too-large', 'eventSize', `is ${size}, at most ${MAX_EVENT_BYTES} are read`, offset)
  return reader.bytes(size, 'event')
}

/** The entries end at the register 0xFFFFFFFF, or where nothing but zeros is left. */
function atEnd(reader: ByteReader, bytes: Uint8Array): boolean {
  const here = bytes.subarray(reader.offset)
  if (here.length < 4) return false
  if (here[0] === 0xff) return new DataView(here.buffer, here.byteOffset).getUint32(0, true) === END_OF_EVENTS
  // An entry has a digest count, or a digest, in these bytes: the scan for a byte that is not zero ends early.
  return here[0] === 0 && here.subarray(0, 32).every(isZero) && here.every(isZero)
}

const isZero = (byte: number): boolean => byte === 0

function isSpecId03({ type, data }: LogEvent): boolean {
  return type === EV.NO_ACTION && startsWith(data, SPEC_ID_03)
}

/** TCG_EfiSpecIdEvent of PFP 1.06: the first entry of a crypto-agile log. */
function readHeader(outer: ByteReader, event: LogEvent): { specId: SpecId; banks: BankDescription[] } {
  const zeroAt = event.digests[0]?.bytes.findIndex((byte) => byte !== 0) ?? -1
  if (zeroAt >= 0)
    throw outer.error(
      'reserved-bit',
      'digest',
      'of the Spec ID event must be zero',
      event.offset + 8 + zeroAt,
    )
  const base = event.offset + 32
  const reader = new ByteReader(event.data, { what: 'event log header', base })
  reader.skip(SPEC_ID_03.length, 'signature')
  const platformClass = reader.u32le('platformClass')
  const minor = reader.u8('specVersionMinor')
  const major = reader.u8('specVersionMajor')
  const errata = reader.u8('specErrata')
  const uintnBytes = readUintnBytes(reader)
  const banks = readBanks(reader)
  const vendorInfo = reader.bytes(reader.u8('vendorInfoSize'), 'vendorInfo')
  reader.end()
  const version = `${major}.${minor}${errata === 0 ? '' : ` errata ${errata}`}`
  return { specId: { platformClass, version, uintnBytes, vendorInfo }, banks }
}

/** In units of 4 bytes: 1 or 2. */
function readUintnBytes(reader: ByteReader): number {
  const offset = reader.offset
  const size = reader.u8('uintnSize')
  if (size !== 1 && size !== 2)
    throw reader.error('bad-value', 'uintnSize', `is ${size}, must be 1 or 2`, offset)
  return size * 4
}

function readBanks(reader: ByteReader): BankDescription[] {
  const countAt = reader.offset
  const count = reader.u32le('numberOfAlgorithms')
  if (count < 1 || count > MAX_BANKS)
    throw reader.error(
      'bad-value',
      'numberOfAlgorithms',
      `is ${count}, 1 to ${MAX_BANKS} are allowed`,
      countAt,
    )
  const banks: BankDescription[] = []
  for (let index = 0; index < count; index++) {
    const offset = reader.offset
    const algorithm = reader.u16le('algorithmId')
    const digestBytes = reader.u16le('digestSize')
    const known = hashAlgorithm(algorithm)
    if (digestBytes < 1 || digestBytes > 64 || (known && known.digestBytes !== digestBytes))
      throw reader.error(
        'bad-value',
        'digestSize',
        `of ${known?.name ?? hex(algorithm)} is ${digestBytes}, must be ${known?.digestBytes ?? '1 to 64'}`,
        offset + 2,
      )
    if (banks.some((each) => each.algorithm === algorithm))
      throw reader.error('bad-value', 'algorithmId', `${hex(algorithm)} occurs twice`, offset)
    banks.push({ algorithm, bank: known?.bank, digestBytes })
  }
  return banks
}

/**
 * The locality of TPM2_Startup, from its TCG_EfiStartupLocalityEvent (PFP 1.06); undefined for any other event. One
 * byte, of which `parseEventLog` takes 0, 3 and 4. Never throws.
 */
export function startupLocality({ type, register, data }: LogEvent): number | undefined {
  const isOne = type === EV.NO_ACTION && register === 0 && startsWith(data, STARTUP_LOCALITY)
  return isOne && data.length === STARTUP_LOCALITY.length + 1 ? data[STARTUP_LOCALITY.length] : undefined
}

/** It seeds PCR 0, so it may come once, before anything was extended there, with a value that a TPM can have. */
function checkStartupLocality(reader: ByteReader, events: readonly LogEvent[]): void {
  let started = false
  for (const event of events) {
    const locality = startupLocality(event)
    if (locality === undefined) {
      started ||= event.register === 0 && event.type !== EV.NO_ACTION
      continue
    }
    const problem = started
      ? 'must come once, before the first extension of PCR 0'
      : [0, 3, 4].includes(locality)
        ? undefined
        : `is ${locality}, must be 0, 3 or 4`
    if (problem) throw reader.error('bad-value', 'StartupLocality', problem, event.offset)
    started = true
  }
}

function startsWith(data: Uint8Array, text: string): boolean {
  return (
    Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, text.length)).toString('latin1') === text
  )
}

const hex = (value: number): string => `0x${value.toString(16).padStart(4, '0')}`
