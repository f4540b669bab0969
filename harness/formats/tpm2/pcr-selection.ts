/** TPML_PCR_SELECTION: TPM 2.0 Part 2, "PCR Structures". */
import type { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { hashAlgorithm } from './hash-algorithms.ts'

/** HASH_COUNT of every TPM that we know. */
const MAX_BANKS = 16
/** 24 PCRs need 3 bytes; TSS allows for 32. */
const MAX_SELECT_BYTES = 4

/** TPMS_PCR_SELECTION: TPM 2.0 Part 2. */
export interface PcrSelection {
  /** TPM_ALG_ID of the bank. */
  readonly algorithm: number
  /** Indices, ascending; possibly none. */
  readonly pcrs: readonly number[]
}

/**
 * Reads at most 16 banks of 1 to 4 bytes, big-endian as it is signed. Throws FormatError, also where a bank occurs
 * twice. TPM 2.0 Part 2, TPML_PCR_SELECTION.
 */
export function readPcrSelections(reader: ByteReader): readonly PcrSelection[] {
  const at = reader.offset
  const count = reader.u32be('pcrSelect.count')
  if (count > MAX_BANKS)
    throw reader.error('too-large', 'pcrSelect.count', `is ${count}, at most ${MAX_BANKS} are read`, at)
  const selections: PcrSelection[] = []
  for (let index = 0; index < count; index++) {
    const offset = reader.offset
    const algorithm = reader.u16be('pcrSelect.hash')
    if (!hashAlgorithm(algorithm))
      throw reader.error(
        'bad-value',
        'pcrSelect.hash',
        `is 0x${algorithm.toString(16)}, no hash algorithm`,
        offset,
      )
    if (selections.some((each) => each.algorithm === algorithm))
      throw reader.error('bad-value', 'pcrSelect.hash', `0x${algorithm.toString(16)} occurs twice`, offset)
    selections.push({ algorithm, pcrs: readBitmap(reader) })
  }
  return selections
}

function readBitmap(reader: ByteReader): readonly number[] {
  const at = reader.offset
  const length = reader.u8('pcrSelect.sizeofSelect')
  if (length < 1 || length > MAX_SELECT_BYTES)
    throw reader.error(
      'bad-value',
      'pcrSelect.sizeofSelect',
      `is ${length}, must be 1 to ${MAX_SELECT_BYTES}`,
      at,
    )
  return selectedPcrs(reader.bytes(length, 'pcrSelect.pcrSelect'))
}

/** Bit n of byte m selects PCR 8 m + n. TPM 2.0 Part 2, TPMS_PCR_SELECTION. Never throws. */
export function selectedPcrs(bitmap: Uint8Array): readonly number[] {
  return Array.from({ length: bitmap.length * 8 }, (_, pcr) => pcr).filter(
    (pcr) => ((bitmap[pcr >> 3] ?? 0) >> (pcr & 7)) & 1,
  )
}

/** Writes a TPML_PCR_SELECTION (TPM 2.0 Part 2): 3 bytes for each bank, PCRs 0 to 23. Never throws. */
export function writePcrSelections(writer: ByteWriter, selections: readonly PcrSelection[]): ByteWriter {
  writer.u32be(selections.length, 'pcrSelect.count')
  for (const { algorithm, pcrs } of selections) {
    const bitmap = Buffer.alloc(3)
    for (const pcr of pcrs) bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7))
    writer.u16be(algorithm, 'hash').u8(bitmap.length, 'sizeofSelect').bytes(bitmap, 'pcrSelect')
  }
  return writer
}
