/**
 * The chain of a log: a line of JSON a record, `seq` counting from 1 and `prev` the SHA-256 of the line before (64 zeros
 * at the start). Whoever changes, drops or moves a line breaks it; a tail that was cut off shows only to whom remembers
 * the last line's digest.
 */
import { open } from 'node:fs/promises'
import { sha256Hex } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import { JsonText } from '../../formats/json-text.ts'
import type { AuditRecord } from './record.ts'

/** Of one record; what is longer is not written. */
export const MAX_LINE_BYTES = 1024 * 1024

/** Where a chain ends: what the next line goes on from. */
export interface ChainEnd {
  /** Number of records. */
  readonly seq: number
  /** SHA-256 of the last line, 64 hex digits. */
  readonly digest: string
}

export const CHAIN_START: ChainEnd = { seq: 0, digest: '0'.repeat(64) }

/** The next line without its newline, and the end after it. Throws RangeError for a record that is too long. */
export function link(end: ChainEnd, record: AuditRecord): { readonly line: string; readonly end: ChainEnd } {
  const seq = end.seq + 1
  const line = JSON.stringify({ seq, prev: end.digest, ...record })
  const length = Buffer.byteLength(line)
  if (length > MAX_LINE_BYTES)
    throw new RangeError(`an audit record has ${length} bytes, at most ${MAX_LINE_BYTES} are kept`)
  return { line, end: { seq, digest: sha256Hex(line) } }
}

/** A log as far as it is whole. */
export interface ReadLog {
  readonly end: ChainEnd
  /** Bytes of whole lines; what stands behind them was being written when the writer died. */
  readonly bytes: number
  readonly torn: number
}

/**
 * Reads a log of any length in pieces and shows each record. Throws FormatError with the offset of the first line that
 * does not follow from the one before; what the file system throws.
 */
export async function readChain(
  path: string,
  show: (record: Readonly<Record<string, unknown>>) => void = () => {},
): Promise<ReadLog> {
  let end = CHAIN_START
  let bytes = 0
  let rest: Buffer = Buffer.alloc(0)
  const file = await open(path)
  try {
    for await (const piece of file.createReadStream({ autoClose: false })) {
      let buffered = Buffer.concat([rest, piece as Buffer])
      for (let at = buffered.indexOf(10); at >= 0; at = buffered.indexOf(10)) {
        end = follow(end, buffered.subarray(0, at), { offset: bytes, show })
        bytes += at + 1
        buffered = buffered.subarray(at + 1)
      }
      if (buffered.length > MAX_LINE_BYTES)
        throw broken('line', `is longer than ${MAX_LINE_BYTES} bytes`, bytes)
      rest = buffered
    }
  } finally {
    await file.close()
  }
  return { end, bytes, torn: rest.length }
}

function follow(
  end: ChainEnd,
  line: Uint8Array,
  { offset, show }: { readonly offset: number; readonly show: (record: Record<string, unknown>) => void },
): ChainEnd {
  const record = recordOf(line, offset)
  const { seq, prev } = record
  if (seq !== end.seq + 1) throw broken('seq', `is ${shown(seq)}, must be ${end.seq + 1}`, offset)
  if (prev !== end.digest) throw broken('prev', `is ${shown(prev)}, must be ${end.digest}`, offset)
  show(record)
  return { seq: end.seq + 1, digest: sha256Hex(line) }
}

function recordOf(line: Uint8Array, offset: number): Record<string, unknown> {
  let value: unknown
  try {
    ;({ value } = JsonText.parse(line, { what: 'audit record', maxBytes: MAX_LINE_BYTES, maxDepth: 16 }))
  } catch (cause) {
    throw broken('record', 'is not JSON as it was written', offset, cause)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw broken('record', 'is not a JSON object', offset)
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'absent'
}

function broken(field: string, problem: string, offset: number, cause?: unknown): FormatError {
  return new FormatError(`cannot verify the audit log at 0x${offset.toString(16)}: ${field} ${problem}`, {
    ...{ code: 'bad-value', field, offset, cause },
    hint: 'the log was changed after it was written, up to this line it is whole',
  })
}
