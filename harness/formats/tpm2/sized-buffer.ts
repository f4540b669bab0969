import type { ByteReader, ByteWriter } from '../../base/bytes.ts'

/** The largest of TPM 2.0's sized buffers that we read: a public area, a key of RSA 4096. */
const MAX_BYTES = 4096

/** Bytes that are allowed, both ends included. TPM 2.0 Part 2, TPM2B. */
export interface SizedBufferLimits {
  readonly min?: number
  readonly max?: number
}

/**
 * TPM2B_…: u16 length, big-endian, and that many bytes (TPM 2.0 Part 2, "Sized Buffers"). Throws FormatError
 * 'bad-value' where the length is not within the limits, 'truncated' where the bytes end before it.
 */
export function readSized(
  reader: ByteReader,
  field: string,
  { min = 0, max = MAX_BYTES }: SizedBufferLimits = {},
): Uint8Array {
  const offset = reader.offset
  const length = reader.u16be(`${field}.size`)
  if (length < min || length > max)
    throw reader.error('bad-value', `${field}.size`, `is ${length}, must be ${min} to ${max}`, offset)
  return reader.bytes(length, field)
}

/** A TPM2B: two bytes of size, big-endian, and the bytes. TPM 2.0 Part 2; at most 65535 bytes, FormatError above. */
export function writeSized(writer: ByteWriter, bytes: Uint8Array, field: string): ByteWriter {
  return writer.u16be(bytes.length, `${field}.size`).bytes(bytes, field)
}
