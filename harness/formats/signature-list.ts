/** EFI_SIGNATURE_LIST: the contents of PK, KEK, db, dbx and MokList. UEFI specification 2.10, 32.4.1. */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { GUID_BYTES, guidBytes, guidText } from './guid.ts'

const LIST_HEADER_BYTES = 28

/** SignatureType GUIDs: UEFI 2.10, 32.4.1. */
export const SIGNATURE_TYPES = {
  x509: 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072',
  sha256: 'c1c41626-504c-4092-aca9-41f936934328',
} as const

/** EFI_SIGNATURE_DATA. UEFI 2.10, 32.4.1: an owner of 16 bytes, and data. */
export interface Signature {
  /** Who put it there: any GUID. */
  readonly owner: string
  /** A certificate in DER, or a digest. */
  readonly data: Uint8Array
}

/** EFI_SIGNATURE_LIST. UEFI 2.10, 32.4.1. */
export interface SignatureList {
  /** One of SIGNATURE_TYPES, or another GUID of the specification. */
  readonly type: string
  readonly header: Uint8Array
  /** All of the same length. */
  readonly signatures: readonly Signature[]
}

/**
 * All lists of a variable, which may be empty; sizes are u32, little-endian. Throws FormatError with the list's offset.
 * UEFI 2.10, 32.4.1 (Signature Database).
 */
export function parseSignatureLists(bytes: Uint8Array): readonly SignatureList[] {
  const reader = new ByteReader(bytes, { what: 'signature list' })
  const lists: SignatureList[] = []
  while (reader.remaining > 0) lists.push(parseList(reader))
  return lists
}

function parseList(reader: ByteReader): SignatureList {
  const at = reader.offset
  const available = reader.remaining
  const type = guidText(reader.bytes(GUID_BYTES, 'SignatureType'))
  const size = reader.u32le('SignatureListSize')
  const headerSize = reader.u32le('SignatureHeaderSize')
  const signatureSize = reader.u32le('SignatureSize')
  const body = size - LIST_HEADER_BYTES - headerSize
  if (body < 0 || size > available)
    throw reader.error('bad-value', 'SignatureListSize', `is ${size}, ${available} bytes remain`, at + 16)
  if (signatureSize <= GUID_BYTES || body % signatureSize !== 0)
    throw reader.error(
      'bad-value',
      'SignatureSize',
      `is ${signatureSize}, the list has ${body} bytes`,
      at + 24,
    )
  const header = reader.bytes(headerSize, 'SignatureHeader')
  const signatures = Array.from({ length: body / signatureSize }, () => ({
    owner: guidText(reader.bytes(GUID_BYTES, 'SignatureOwner')),
    data: reader.bytes(signatureSize - GUID_BYTES, 'SignatureData'),
  }))
  return { type, header, signatures }
}

/** Throws FormatError `bad-value` where signatures of one list differ in length. UEFI 2.10, 32.4.1; sizes in bytes. */
export function encodeSignatureLists(lists: readonly SignatureList[]): Buffer {
  const writer = new ByteWriter({ what: 'signature list' })
  for (const { type, header, signatures } of lists) {
    const dataBytes = signatures[0]?.data.length ?? 0
    const signatureSize = GUID_BYTES + dataBytes
    writer
      .bytes(guidBytes(type), 'SignatureType')
      .u32le(LIST_HEADER_BYTES + header.length + signatures.length * signatureSize, 'SignatureListSize')
      .u32le(header.length, 'SignatureHeaderSize')
      .u32le(signatureSize, 'SignatureSize')
      .bytes(header, 'SignatureHeader')
    for (const { owner, data } of signatures)
      writer.bytes(guidBytes(owner), 'SignatureOwner').bytes(data, 'SignatureData', dataBytes)
  }
  return writer.finish()
}
