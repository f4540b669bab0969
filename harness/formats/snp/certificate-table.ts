/**
 * The certificate table of an SNP extended guest request, which configfs-tsm hands out as `auxblob`: SEV-ES
 * Guest-Hypervisor Communication Block Standardization (AMD 56421, revision 2.03), 4.1.8.1. The host wrote it.
 */
import { ByteReader } from '../../base/bytes.ts'

/** GUIDs in the order of their bytes, not as UEFI stores them. */
export const CERTIFICATE_GUIDS = {
  vcek: '63da758d-e664-4564-adc5-f4b93be8accd',
  vlek: 'a8074bc2-a25a-483e-aae6-39c045a0b8a1',
  /** The ASVK has this one too. */
  ask: '4ab7b379-bbac-4fe4-a02f-05aef327c782',
  ark: 'c0b406a4-a803-4952-9743-3fb6014cd0ae',
  crl: '92f81bc3-5811-4d3d-97ff-d19f88dc67ea',
} as const

/** An entry of the table: GHCB specification (AMD 56421), 4.1.8.1. */
export interface TableEntry {
  readonly guid: string
  /** Of `bytes` in the table. */
  readonly offset: number
  /** Not empty; DER of a certificate where the GUID is one of the above. */
  readonly bytes: Uint8Array
}

const ENTRY_BYTES = 24
/** AMD names five kinds; a host may add its own. */
const MAX_ENTRIES = 64
/** A host's pages for it: the kernel allows 16 KiB. */
const MAX_TABLE_BYTES = 1024 * 1024

/**
 * Entries up to the one that is all zero, in their order: at most 64, in 1 MiB (AMD 56421, 4.1.8.1). An empty input is
 * an empty table. What no entry points to is the host's padding. Throws FormatError.
 */
export function parseCertificateTable(bytes: Uint8Array): readonly TableEntry[] {
  const reader = new ByteReader(bytes, { what: 'certificate table' })
  if (bytes.length > MAX_TABLE_BYTES)
    throw reader.error(
      'too-large',
      'table',
      `has ${bytes.length} bytes, at most ${MAX_TABLE_BYTES} are allowed`,
    )
  const headers = bytes.length === 0 ? [] : readHeaders(reader)
  const headerBytes = reader.position
  return headers.map(({ guid, offset, length, at }, index) => {
    const field = `entry ${index}`
    if (length === 0) throw reader.error('bad-value', field, 'has the length 0', at + 20)
    if (offset < headerBytes)
      throw reader.error(
        'bad-value',
        field,
        `lies at ${offset}, within the ${headerBytes} bytes of entries`,
        at + 16,
      )
    if (offset + length > bytes.length)
      throw reader.error(
        'truncated',
        field,
        `ends at ${offset + length}, the table at ${bytes.length}`,
        at + 16,
      )
    return { guid, offset, bytes: bytes.subarray(offset, offset + length) }
  })
}

interface Header {
  readonly guid: string
  readonly offset: number
  readonly length: number
  readonly at: number
}

function readHeaders(reader: ByteReader): readonly Header[] {
  const headers: Header[] = []
  for (;;) {
    const at = reader.offset
    const guid = guidText(reader.bytes(16, 'GUID'))
    const offset = reader.u32le('OFFSET')
    const length = reader.u32le('LENGTH')
    if (offset === 0 && length === 0 && guid === ZERO_GUID) return headers
    if (headers.length >= MAX_ENTRIES)
      throw reader.error('too-large', 'table', `has more than ${MAX_ENTRIES} entries`, at)
    headers.push({ guid, offset, length, at })
  }
}

const ZERO_GUID = '00000000-0000-0000-0000-000000000000'

function guidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/**
 * The table with its terminating entry, no padding; for tests and the emulated security processor. AMD 56421, 4.1.8.1:
 * entries of 24 bytes. Throws FormatError for a text that is no GUID.
 */
export function encodeCertificateTable(
  entries: readonly { readonly guid: string; readonly bytes: Uint8Array }[],
): Buffer {
  const headerBytes = (entries.length + 1) * ENTRY_BYTES
  const header = Buffer.alloc(headerBytes)
  let offset = headerBytes
  for (const [index, { guid, bytes }] of entries.entries()) {
    header.write(guid.replaceAll('-', ''), index * ENTRY_BYTES, 'hex')
    header.writeUInt32LE(offset, index * ENTRY_BYTES + 16)
    header.writeUInt32LE(bytes.length, index * ENTRY_BYTES + 20)
    offset += bytes.length
  }
  return Buffer.concat([header, ...entries.map(({ bytes }) => bytes)])
}
