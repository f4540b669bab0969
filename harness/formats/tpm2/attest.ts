/** TPMS_ATTEST, the structure that a TPM signs: TPM 2.0 Part 2, "Attestation Structures". */
import { ByteReader } from '../../base/bytes.ts'
import { type PcrSelection, readPcrSelections } from './pcr-selection.ts'
import { readSized } from './sized-buffer.ts'

/** "\xffTCG": a TPM puts it in front of what it made itself, and refuses to sign other data that starts with it. */
export const TPM_GENERATED = Buffer.from('ff544347', 'hex')

/** TPM_ST: TPM 2.0 Part 2, "Structure Tags". */
export const ATTEST_TYPES = {
  nv: 0x8014,
  'command-audit': 0x8015,
  'session-audit': 0x8016,
  certify: 0x8017,
  quote: 0x8018,
  time: 0x8019,
  creation: 0x801a,
  'nv-digest': 0x801c,
} as const
/** TPMI_ST_ATTEST: TPM 2.0 Part 2, 16 bits. */
export type AttestType = keyof typeof ATTEST_TYPES

/** TPMS_CLOCK_INFO: TPM 2.0 Part 2. */
export interface ClockInfo {
  /** Milliseconds that the TPM was powered, over its life. */
  readonly clock: bigint
  /** TPM resets (power cycles of a machine) since the TPM was cleared. */
  readonly resetCount: number
  /** Resumes and restarts since the last reset. */
  readonly restartCount: number
  /** False where `clock` may have been reported before with a higher value. */
  readonly safe: boolean
}

/** TPMS_QUOTE_INFO: TPM 2.0 Part 2. */
export interface QuoteInfo {
  readonly selections: readonly PcrSelection[]
  /** Over the selected PCR values, in the hash algorithm of the signature. */
  readonly pcrDigest: Uint8Array
}

/** TPMS_ATTEST: TPM 2.0 Part 2. */
export interface Attest {
  readonly type: AttestType
  /** Qualified name of the key that signed: TPM_ALG_ID and a digest. */
  readonly qualifiedSigner: Uint8Array
  /** Qualifying data: the verifier's nonce, at most 64 bytes. */
  readonly extraData: Uint8Array
  readonly clockInfo: ClockInfo
  /** The manufacturer's own numbering; swtpm gives its build date. */
  readonly firmwareVersion: bigint
  /** Only of a `quote`; other attestations are kept as bytes in `attested`. */
  readonly quote: QuoteInfo | undefined
  readonly attested: Uint8Array
}

/**
 * Parses the bytes that were signed, without a TPM2B around them: TPM 2.0 Part 2, TPMS_ATTEST. Throws FormatError with
 * field and offset: `bad-magic`, `bad-value` for lengths that no TPM writes, `truncated`, `trailing-bytes`.
 */
export function parseAttest(bytes: Uint8Array): Attest {
  const reader = new ByteReader(bytes, { what: 'TPMS_ATTEST' })
  reader.magic(TPM_GENERATED, 'magic')
  const type = readType(reader)
  const qualifiedSigner = readSized(reader, 'qualifiedSigner', { max: 66 })
  const extraData = readSized(reader, 'extraData', { max: 66 })
  const clockInfo = readClockInfo(reader)
  const firmwareVersion = reader.u64be('firmwareVersion')
  const attested = bytes.subarray(reader.offset)
  const quote = type === 'quote' ? readQuoteInfo(reader) : undefined
  if (!quote) reader.rest()
  reader.end()
  return { type, qualifiedSigner, extraData, clockInfo, firmwareVersion, quote, attested }
}

function readType(reader: ByteReader): AttestType {
  const offset = reader.offset
  const value = reader.u16be('type')
  const found = (Object.keys(ATTEST_TYPES) as AttestType[]).find((type) => ATTEST_TYPES[type] === value)
  if (!found) throw reader.error('bad-value', 'type', `is 0x${value.toString(16)}, no attestation`, offset)
  return found
}

function readClockInfo(reader: ByteReader): ClockInfo {
  const clock = reader.u64be('clockInfo.clock')
  const resetCount = reader.u32be('clockInfo.resetCount')
  const restartCount = reader.u32be('clockInfo.restartCount')
  const offset = reader.offset
  const safe = reader.u8('clockInfo.safe')
  if (safe > 1) throw reader.error('bad-value', 'clockInfo.safe', `is ${safe}, must be 0 or 1`, offset)
  return { clock, resetCount, restartCount, safe: safe === 1 }
}

function readQuoteInfo(reader: ByteReader): QuoteInfo {
  const selections = readPcrSelections(reader)
  return { selections, pcrDigest: readSized(reader, 'pcrDigest', { max: 64 }) }
}
