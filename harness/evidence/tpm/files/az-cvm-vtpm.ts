/**
 * A quote as the Rust crate az-cvm-vtpm serialises it (bincode): signature, TPMS_ATTEST, 24 values of the SHA-256 bank.
 */
import { ByteReader } from '../../../base/bytes.ts'
import { hashAlgorithm } from '../../../formats/tpm2/hash-algorithms.ts'
import type { TpmQuote } from '../quote.ts'

const MAX_BYTES = 4096
const MAX_PCRS = 32
const DIGEST_BYTES = 32

/**
 * Throws FormatError. The signature is RSASSA with SHA-256: the format has no field for it. Azure-cvm-tooling,
 * az-cvm-vtpm: the bincode form of its Quote; lengths of 64 bits, little-endian.
 */
export function parseAzCvmVtpmQuote(bytes: Uint8Array): TpmQuote {
  const reader = new ByteReader(bytes, { what: 'az-cvm-vtpm quote' })
  const signature = reader.bytes(readCount(reader, 'signature', MAX_BYTES), 'signature')
  const attest = reader.bytes(readCount(reader, 'message', MAX_BYTES), 'message')
  const count = readCount(reader, 'pcrs', MAX_PCRS)
  const values = new Map<number, Uint8Array>()
  for (let pcr = 0; pcr < count; pcr++) values.set(pcr, reader.bytes(DIGEST_BYTES, `pcr ${pcr}`))
  reader.end()
  const hash = hashAlgorithm(0x000b)
  if (!hash) throw new TypeError('SHA-256 is missing among the hash algorithms')
  return {
    attest,
    signature: { scheme: 'rsassa', hash, bytes: signature },
    pcrs: [{ bank: 'sha256', values }],
  }
}

function readCount(reader: ByteReader, field: string, max: number): number {
  const offset = reader.offset
  const count = reader.u64le(`${field} length`)
  if (count > BigInt(max))
    throw reader.error('too-large', `${field} length`, `is ${count}, at most ${max} are read`, offset)
  return Number(count)
}
