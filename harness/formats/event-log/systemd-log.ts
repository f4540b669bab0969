/**
 * What systemd measured after the firmware's log ended: /run/log/systemd/tpm2-measure.log and, in a TD, cc-measure.log.
 * JSON text sequences (RFC 7464) of records close to TCG CEL-JSON; systemd's docs/TPM2_PCR_MEASUREMENTS.md.
 */
import { ByteReader } from '../../base/bytes.ts'
import { DIGEST_LENGTHS, type DigestAlgorithm } from '../../base/digest.ts'
import { hashAlgorithmId } from '../tpm2/hash-algorithms.ts'
import type { EventDigest } from './event.ts'

/** Above what years of measurements fill. 4 MiB; systemd sets no limit. */
export const MAX_SYSTEMD_LOG_BYTES = 4 * 1024 * 1024
const MAX_RECORDS = 16_384
const MAX_RECORD_BYTES = 64 * 1024
const RECORD_SEPARATOR = 0x1e
const LINE_FEED = 0x0a
const MAX_PCR = 23
const MAX_RTMR = 3
const HEX = /^(?:[0-9a-f]{2})+$/

/** What a record extended. PCR 0 to 23, RTMR 0 to 3, or an NV index: systemd, docs/TPM2_PCR_MEASUREMENTS.md. */
export type SystemdRegister =
  | { readonly kind: 'pcr'; readonly index: number }
  /** RTMR0 to RTMR3, and the PCR that systemd would have used with a TPM. */
  | { readonly kind: 'rtmr'; readonly index: number; readonly mappedPcr: number | undefined }
  /** An NV index of type TPM2_NT_EXTEND: an "NvPCR". No quote over PCRs covers it. */
  | { readonly kind: 'nv-index'; readonly index: number; readonly name: string | undefined }

/** One record: TCG Canonical Event Log in JSON, as systemd writes it. */
export interface SystemdRecord {
  /** From 0. */
  readonly number: number
  /** Of its first byte in the log. */
  readonly offset: number
  readonly register: SystemdRegister
  readonly digests: readonly EventDigest[]
  /** "phase", "filesystem", "machine-id", "volume-key" …: a label, not measured. */
  readonly eventType: string | undefined
  /** What is hashed, but for secrets (`volume-key`), where it says what the secret is bound to. */
  readonly text: string | undefined
}

/**
 * Parses at most 4 MiB and 16384 records of 64 KiB (RFC 7464, CEL-JSON). Throws FormatError with the offset of the
 * record. An empty log is a log without records.
 */
export function parseSystemdLog(bytes: Uint8Array): readonly SystemdRecord[] {
  const reader = new ByteReader(bytes, { what: 'systemd measurement log' })
  if (bytes.length > MAX_SYSTEMD_LOG_BYTES)
    throw reader.error(
      'too-large',
      'log',
      `has ${bytes.length} bytes, at most ${MAX_SYSTEMD_LOG_BYTES} are read`,
    )
  const records: SystemdRecord[] = []
  while (reader.remaining > 0) {
    if (records.length === MAX_RECORDS)
      throw reader.error('too-large', 'log', `has more than ${MAX_RECORDS} records`)
    records.push(readRecord(reader, bytes, records.length))
  }
  return records
}

function readRecord(reader: ByteReader, bytes: Uint8Array, number: number): SystemdRecord {
  const offset = reader.offset
  if (reader.u8('record separator') !== RECORD_SEPARATOR)
    throw reader.error('bad-magic', 'record separator', 'must be 0x1e', offset)
  const end = bytes.subarray(reader.offset, reader.offset + MAX_RECORD_BYTES).indexOf(LINE_FEED)
  if (end < 0)
    throw reader.error('truncated', 'record', `has no line feed within ${MAX_RECORD_BYTES} bytes`, offset)
  const fail = (field: string, problem: string) => reader.error('bad-value', field, problem, offset)
  const record = parseJson(reader.bytes(end, 'record'), fail)
  reader.skip(1, 'line feed')
  const content = isObject(record['content']) ? record['content'] : {}
  return {
    number,
    offset,
    register: readTarget(record, content, fail),
    digests: readDigests(record['digests'], fail),
    eventType: textOf(content['eventType'], 'eventType', fail),
    text: textOf(content['string'], 'string', fail),
  }
}

type Fail = (field: string, problem: string) => Error
type JsonObject = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function parseJson(bytes: Uint8Array, fail: Fail): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw fail('record', 'is not JSON in UTF-8')
  }
  if (!isObject(value)) throw fail('record', 'is not a JSON object')
  return value
}

function readTarget(record: JsonObject, content: JsonObject, fail: Fail): SystemdRegister {
  const named = ['pcr', 'rtmr', 'nv_index'].filter((name) => record[name] !== undefined)
  if (named.length !== 1)
    throw fail('pcr', `one of pcr, rtmr and nv_index is required, ${named.length} are given`)
  if (named[0] === 'pcr')
    return { kind: 'pcr', index: numberOf(record['pcr'], { name: 'pcr', max: MAX_PCR, fail }) }
  if (named[0] === 'rtmr') {
    const mapped = record['mapped_pcr']
    return {
      kind: 'rtmr',
      index: numberOf(record['rtmr'], { name: 'rtmr', max: MAX_RTMR, fail }),
      mappedPcr:
        mapped === undefined ? undefined : numberOf(mapped, { name: 'mapped_pcr', max: MAX_PCR, fail }),
    }
  }
  const index = numberOf(record['nv_index'], { name: 'nv_index', max: 0xffff_ffff, fail })
  return { kind: 'nv-index', index, name: textOf(content['nvIndexName'], 'nvIndexName', fail) }
}

function numberOf(value: unknown, { name, max, fail }: { name: string; max: number; fail: Fail }): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value
  throw fail(name, `is not a whole number from 0 to ${max}`)
}

function textOf(value: unknown, name: string, fail: Fail): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  throw fail(name, 'is not a string')
}

function readDigests(value: unknown, fail: Fail): readonly EventDigest[] {
  if (!Array.isArray(value) || value.length === 0)
    throw fail('digests', 'is not a list with one digest or more')
  const digests = value.map((each: unknown) => readDigest(each, fail)).filter((each) => each !== undefined)
  if (new Set(digests.map(({ algorithm }) => algorithm)).size !== digests.length)
    throw fail('digests', 'has two of one algorithm')
  return digests
}

/** Undefined for an algorithm that we cannot compute. */
function readDigest(value: unknown, fail: Fail): EventDigest | undefined {
  const { hashAlg, digest } = isObject(value) ? (value as { hashAlg?: unknown; digest?: unknown }) : {}
  if (typeof hashAlg !== 'string' || typeof digest !== 'string' || !HEX.test(digest))
    throw fail('digests', 'has an entry without hashAlg and digest in hex')
  if (!isBank(hashAlg)) return undefined
  const bytes = Buffer.from(digest, 'hex')
  if (bytes.length !== DIGEST_LENGTHS[hashAlg])
    throw fail('digest', `of ${hashAlg} has ${bytes.length} bytes, must have ${DIGEST_LENGTHS[hashAlg]}`)
  return { algorithm: hashAlgorithmId(hashAlg), bank: hashAlg, bytes }
}

function isBank(name: string): name is DigestAlgorithm {
  return Object.hasOwn(DIGEST_LENGTHS, name)
}
