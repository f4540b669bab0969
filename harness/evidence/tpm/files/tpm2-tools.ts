/**
 * What tpm2_quote writes: TPMS_ATTEST (-m), TPMT_SIGNATURE (-s), and the PCR values (-o) as tpm2-tools dump their C
 * structures, little-endian. tpm2-tools 5, lib/pcr.c.
 */
import { ByteReader } from '../../../base/bytes.ts'
import { type HashAlgorithm, hashAlgorithm } from '../../../formats/tpm2/hash-algorithms.ts'
import { selectedPcrs } from '../../../formats/tpm2/pcr-selection.ts'
import { parseTpmSignature } from '../../../formats/tpm2/signature.ts'
import type { PcrBank, TpmQuote } from '../quote.ts'

/** TPM2_NUM_PCR_BANKS: that many selections are written, whatever their count. */
const SELECTIONS = 16
/** TPML_DIGEST holds this many; a longer list of values takes several. */
const DIGESTS_PER_LIST = 8
/** TPMU_HA: room for SHA-512. */
const DIGEST_BYTES = 64
const MAX_LISTS = 64

/** What `tpm2_quote -m -s -o` writes: TPM 2.0 Part 2, TPMS_ATTEST and TPMT_SIGNATURE; tpm2-tools 5, lib/pcr.c. */
export interface Tpm2ToolsFiles {
  readonly attest: Uint8Array
  readonly signature: Uint8Array
  /** The file of -o, in the default format `serialized`. */
  readonly pcrs?: Uint8Array | undefined
}

/**
 * A quote of its files; `attest` is taken as it was signed. Throws FormatError for signature and PCR values. TPM 2.0
 * Part 2, TPMS_ATTEST and TPMT_SIGNATURE.
 */
export function parseTpm2ToolsQuote({ attest, signature, pcrs }: Tpm2ToolsFiles): TpmQuote {
  return { attest, signature: parseTpmSignature(signature), pcrs: pcrs ? parseSerializedPcrs(pcrs) : [] }
}

/**
 * The file of `tpm2_quote -o`, and the third part of Keylime's quote. Throws FormatError. Tpm2-tools 5, lib/pcr.c; at
 * most 16 banks and 64 lists of 8 digests.
 */
export function parseSerializedPcrs(bytes: Uint8Array): readonly PcrBank[] {
  const reader = new ByteReader(bytes, { what: 'PCR values of tpm2-tools' })
  const wanted = readSelections(reader).flatMap(({ algorithm, pcrs }) =>
    pcrs.map((pcr) => ({ algorithm, pcr })),
  )
  const values = readDigests(reader)
  reader.end()
  if (values.length !== wanted.length)
    throw reader.error('bad-value', 'digests', `are ${values.length}, ${wanted.length} PCRs are selected`)
  return toBanks(reader, wanted, values)
}

interface Wanted {
  readonly algorithm: HashAlgorithm
  readonly pcr: number
}

function toBanks(reader: ByteReader, wanted: readonly Wanted[], values: readonly Uint8Array[]): PcrBank[] {
  const banks = new Map<HashAlgorithm, Map<number, Uint8Array>>()
  for (const [index, { algorithm, pcr }] of wanted.entries()) {
    const value = values[index]
    if (value?.length !== algorithm.digestBytes)
      throw reader.error(
        'bad-value',
        'digest',
        `of ${algorithm.name} PCR ${pcr} has ${value?.length} bytes, must have ${algorithm.digestBytes}`,
      )
    const bank = banks.get(algorithm) ?? new Map<number, Uint8Array>()
    if (bank.has(pcr))
      throw reader.error('bad-value', 'pcrSelect', `selects ${algorithm.name} PCR ${pcr} twice`)
    banks.set(algorithm, bank.set(pcr, value))
  }
  return [...banks].flatMap(([{ bank }, of]) => (bank ? [{ bank, values: of }] : []))
}

/** TPML_PCR_SELECTION in memory: each TPMS_PCR_SELECTION has 8 bytes, the last of them padding. */
function readSelections(reader: ByteReader): { algorithm: HashAlgorithm; pcrs: readonly number[] }[] {
  const count = reader.u32le('count')
  if (count > SELECTIONS)
    throw reader.error('bad-value', 'count', `is ${count}, at most ${SELECTIONS} are possible`, 0)
  const selections = []
  for (let index = 0; index < SELECTIONS; index++) {
    const offset = reader.offset
    const id = reader.u16le('hash')
    const length = reader.u8('sizeofSelect')
    const bitmap = reader.bytes(4, 'pcrSelect')
    reader.skip(1, 'padding')
    if (index >= count) continue
    const algorithm = hashAlgorithm(id)
    if (!algorithm || length > 4)
      throw reader.error(
        'bad-value',
        'selection',
        `has hash 0x${id.toString(16)} and ${length} bytes`,
        offset,
      )
    selections.push({ algorithm, pcrs: selectedPcrs(bitmap.subarray(0, length)) })
  }
  return selections
}

/** A count of TPML_DIGEST, each with a count and room for 8 TPM2B_DIGEST. */
function readDigests(reader: ByteReader): Uint8Array[] {
  const at = reader.offset
  const lists = reader.u32le('lists')
  if (lists > MAX_LISTS)
    throw reader.error('too-large', 'lists', `are ${lists}, at most ${MAX_LISTS} are read`, at)
  const digests: Uint8Array[] = []
  for (let list = 0; list < lists; list++) {
    const offset = reader.offset
    const count = reader.u32le('digests.count')
    if (count > DIGESTS_PER_LIST)
      throw reader.error('bad-value', 'digests.count', `is ${count}, at most ${DIGESTS_PER_LIST} fit`, offset)
    for (let index = 0; index < DIGESTS_PER_LIST; index++) {
      const sizeAt = reader.offset
      const size = reader.u16le('digest.size')
      const bytes = reader.bytes(DIGEST_BYTES, 'digest.buffer')
      if (size > DIGEST_BYTES)
        throw reader.error('bad-value', 'digest.size', `is ${size}, at most ${DIGEST_BYTES} fit`, sizeAt)
      if (index < count) digests.push(bytes.subarray(0, size))
    }
  }
  return digests
}
