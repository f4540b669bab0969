/** Google's go-tpm-tools: attest.proto's Attestation, in the protobuf wire format. */
import { ByteReader } from '../../../base/bytes.ts'
import type { DigestAlgorithm } from '../../../base/digest.ts'
import { hashAlgorithm } from '../../../formats/tpm2/hash-algorithms.ts'
import { parseTpmPublic, type TpmPublic } from '../../../formats/tpm2/public.ts'
import { parseTpmSignature } from '../../../formats/tpm2/signature.ts'
import type { PcrBank, TpmQuote } from '../quote.ts'

const MAX_BYTES = 4 * 1024 * 1024
const MAX_QUOTES = 16
const MAX_PCRS = 32
const VARINT = 0
const FIXED64 = 1
const LENGTH_DELIMITED = 2
const FIXED32 = 5

/** The message Attestation of go-tpm-tools, as far as it is used. Go-tpm-tools, proto/attest.proto. */
export interface GoTpmToolsAttestation {
  /** ak_pub: as the guest sent it. */
  readonly ak: TpmPublic
  /** One a PCR bank. */
  readonly quotes: readonly TpmQuote[]
  readonly eventLog: Uint8Array | undefined
  /** ak_cert in DER. */
  readonly akCertificate: Uint8Array | undefined
}

/**
 * At most 4 MiB, 16 quotes, 32 PCR values in each. Throws FormatError; fields that we do not use are passed over.
 * Go-tpm-tools, proto/attest.proto; Protocol Buffers, "Encoding".
 */
export function parseGoTpmToolsAttestation(bytes: Uint8Array): GoTpmToolsAttestation {
  const reader = new ByteReader(bytes, { what: 'Attestation protobuf' })
  if (bytes.length > MAX_BYTES)
    throw reader.error('too-large', 'message', `has ${bytes.length} bytes, at most ${MAX_BYTES} are read`)
  const fields = readMessage(reader)
  const quotes = fields.filter(({ number }) => number === 2)
  if (quotes.length > MAX_QUOTES)
    throw reader.error('too-large', 'quotes', `are ${quotes.length}, at most ${MAX_QUOTES} are read`, 0)
  return {
    ak: parseTpmPublic(bytesOf(fields, { number: 1, reader, name: 'ak_pub' })),
    quotes: quotes.map((field) => readQuote(nested(field, reader, 'quotes'))),
    eventLog: optionalBytes(fields, 3),
    akCertificate: optionalBytes(fields, 6),
  }
}

interface Field {
  readonly number: number
  readonly offset: number
  readonly value: number | Uint8Array
}

/** Quote: quote = 1, raw_sig = 2, pcrs = 3 {hash = 1, pcrs = 2: map of index to value}. */
function readQuote(reader: ByteReader): TpmQuote {
  const fields = readMessage(reader)
  const banks = fields.filter(({ number }) => number === 3)
  return {
    attest: bytesOf(fields, { number: 1, reader, name: 'quote' }),
    signature: parseTpmSignature(bytesOf(fields, { number: 2, reader, name: 'raw_sig' })),
    pcrs: banks.map((field) => readBank(nested(field, reader, 'pcrs'))),
  }
}

function readBank(reader: ByteReader): PcrBank {
  const offset = reader.offset
  const fields = readMessage(reader)
  const id = fields.find(({ number }) => number === 1)?.value
  const bank: DigestAlgorithm | undefined = typeof id === 'number' ? hashAlgorithm(id)?.bank : undefined
  if (!bank) throw reader.error('bad-value', 'hash', 'is not a hash algorithm that we compute', offset)
  const entries = fields.filter(({ number }) => number === 2)
  if (entries.length > MAX_PCRS)
    throw reader.error('too-large', 'pcrs', `are ${entries.length}, at most ${MAX_PCRS} are read`, offset)
  const values = new Map<number, Uint8Array>()
  for (const entry of entries) {
    const inner = nested(entry, reader, 'pcrs')
    const pair = readMessage(inner)
    // proto3 leaves a key of 0 out.
    const index = pair.find(({ number }) => number === 1)?.value ?? 0
    if (typeof index !== 'number' || values.has(index))
      throw reader.error('bad-value', 'pcrs', 'has a key twice, or one that is no number', entry.offset)
    values.set(index, bytesOf(pair, { number: 2, reader: inner, name: 'pcrs.value' }))
  }
  return { bank, values }
}

function readMessage(reader: ByteReader): readonly Field[] {
  const fields: Field[] = []
  while (reader.remaining > 0) {
    const offset = reader.offset
    const tag = readVarint(reader, 'tag')
    const number = Math.floor(tag / 8)
    if (number === 0) throw reader.error('bad-value', 'tag', 'has the field number 0', offset)
    fields.push({ number, ...readValue(reader, tag % 8) })
  }
  return fields
}

function readValue(reader: ByteReader, wireType: number): Pick<Field, 'offset' | 'value'> {
  const at = reader.offset
  if (wireType === VARINT) return { offset: at, value: readVarint(reader, 'value') }
  if (wireType === FIXED64) return { offset: at, value: reader.bytes(8, 'fixed64') }
  if (wireType === FIXED32) return { offset: at, value: reader.bytes(4, 'fixed32') }
  if (wireType !== LENGTH_DELIMITED)
    throw reader.error('bad-value', 'tag', `has the wire type ${wireType}, which is not used`, at)
  const length = readVarint(reader, 'length')
  return { offset: reader.offset, value: reader.bytes(length, 'value') }
}

/** Seven bits a byte, least significant first; above 2^53 nothing here has a use for it. */
function readVarint(reader: ByteReader, field: string): number {
  const offset = reader.offset
  let value = 0
  for (let scale = 1; scale < 2 ** 53; scale *= 128) {
    const byte = reader.u8(field)
    value += (byte & 0x7f) * scale
    if (byte < 0x80 && Number.isSafeInteger(value)) return value
    if (byte < 0x80) break
  }
  throw reader.error('too-large', field, 'is a number above 2^53', offset)
}

function nested(field: Field, outer: ByteReader, name: string): ByteReader {
  if (typeof field.value === 'number')
    throw outer.error('bad-value', name, 'is a number, must be a message', field.offset)
  return new ByteReader(field.value, { what: outer.what, base: field.offset })
}

function optionalBytes(fields: readonly Field[], number: number): Uint8Array | undefined {
  const value = fields.find((field) => field.number === number)?.value
  return typeof value === 'number' || value?.length === 0 ? undefined : value
}

function bytesOf(
  fields: readonly Field[],
  { number, reader, name }: { readonly number: number; readonly reader: ByteReader; readonly name: string },
): Uint8Array {
  const value = optionalBytes(fields, number)
  if (!value) throw reader.error('truncated', name, 'is missing')
  return value
}
