/**
 * Authenticode: what a signature over a PE image covers, and where its signatures are. Microsoft, "Windows
 * Authenticode Portable Executable Signature Format", chapters "Calculating the PE Image Hash" and "Attribute
 * Certificate Table". The firmware extends PCR 4 with the same digest (TCG PC Client Platform Firmware Profile, PCR 4).
 */
import { createHash } from 'node:crypto'
import type { DigestAlgorithm } from '../base/digest.ts'
import { ByteView } from './byte-view.ts'
import { parsePeHeaders, parsePeSections } from './pe.ts'

const CHECKSUM_BYTES = 4
const SECURITY_ENTRY_BYTES = 8
const CERTIFICATE_HEADER_BYTES = 8
/** Entries begin at multiples of it. */
const CERTIFICATE_ALIGNMENT = 8
const WIN_CERT_TYPE_PKCS_SIGNED_DATA = 0x0002
/** More than any image has; bounds the walk over the table. */
const MOST_CERTIFICATES = 64

/**
 * Digest of the image without its check sum, its security directory entry and its certificate table. Sections are taken
 * in the order of their place in the file. Throws FormatError for what is no PE image, and where sections and
 * certificates leave no room for each other, as the firmware refuses such an image. Microsoft, "Calculating the PE
 * Image Hash".
 */
export function authenticodeDigest(file: Uint8Array, algorithm: DigestAlgorithm): Buffer {
  const hash = createHash(algorithm)
  for (const part of authenticodeParts(file)) hash.update(part)
  return hash.digest()
}

/**
 * The parts of an image that its Authenticode digest covers, in order: views of `file`. Microsoft, "Calculating the PE
 * Image Hash". Throws FormatError for what is no PE image and for sizes that contradict one another.
 */
export function authenticodeParts(file: Uint8Array): readonly Uint8Array[] {
  const { sizeOfHeaders, checkSumAt, securityEntryAt, certificates } = parsePeHeaders(file)
  const parts = headerParts(file, { sizeOfHeaders, checkSumAt, securityEntryAt })
  const sections = parsePeSections(file)
    .filter(({ size }) => size > 0)
    .toSorted((left, right) => left.offset - right.offset)
  let covered = sizeOfHeaders
  for (const { offset, size } of sections) {
    parts.push(file.subarray(offset, offset + size))
    covered += size
  }
  const end = file.length - (certificates?.size ?? 0)
  if (end < covered && file.length > covered)
    throw new ByteView(file, 'PE file').error(
      `has ${certificates?.size} bytes, ${file.length - covered} are left behind headers and sections`,
      { code: 'bad-value', field: 'CertificateTable', offset: securityEntryAt ?? 0 },
    )
  if (end > covered) parts.push(file.subarray(covered, end))
  return parts
}

function headerParts(
  file: Uint8Array,
  at: { sizeOfHeaders: number; checkSumAt: number; securityEntryAt: number | undefined },
): Uint8Array[] {
  const afterCheckSum = at.checkSumAt + CHECKSUM_BYTES
  const required =
    at.securityEntryAt === undefined ? afterCheckSum : at.securityEntryAt + SECURITY_ENTRY_BYTES
  if (at.sizeOfHeaders < required)
    throw new ByteView(file, 'PE file').error(`is ${at.sizeOfHeaders}, at least ${required} is required`, {
      code: 'bad-value',
      field: 'SizeOfHeaders',
      offset: at.checkSumAt - CHECKSUM_BYTES,
    })
  const before = file.subarray(0, at.checkSumAt)
  if (at.securityEntryAt === undefined) return [before, file.subarray(afterCheckSum, at.sizeOfHeaders)]
  return [
    before,
    file.subarray(afterCheckSum, at.securityEntryAt),
    file.subarray(at.securityEntryAt + SECURITY_ENTRY_BYTES, at.sizeOfHeaders),
  ]
}

/**
 * The PKCS#7 SignedData of each signature, in the order of the table; empty for an unsigned image. Entries of other
 * types are left out. Throws FormatError where an entry reaches past the table. Microsoft, "Attribute Certificate
 * Table"; RFC 2315, 9.1.
 */
export function authenticodeSignatures(file: Uint8Array): readonly Uint8Array[] {
  const { certificates } = parsePeHeaders(file)
  if (certificates === undefined) return []
  const view = new ByteView(file.subarray(0, certificates.offset + certificates.size), 'certificate table')
  const signatures: Uint8Array[] = []
  let at = certificates.offset
  for (let count = 0; at + CERTIFICATE_HEADER_BYTES <= view.length; count++) {
    const length = view.u32(at, 'dwLength')
    if (length < CERTIFICATE_HEADER_BYTES || count === MOST_CERTIFICATES)
      throw view.error(`is ${length}, at least ${CERTIFICATE_HEADER_BYTES} is required`, {
        code: 'bad-value',
        field: 'dwLength',
        offset: at,
      })
    const content = view.slice(
      at + CERTIFICATE_HEADER_BYTES,
      length - CERTIFICATE_HEADER_BYTES,
      'bCertificate',
    )
    if (view.u16(at + 6, 'wCertificateType') === WIN_CERT_TYPE_PKCS_SIGNED_DATA) signatures.push(content)
    at += Math.ceil(length / CERTIFICATE_ALIGNMENT) * CERTIFICATE_ALIGNMENT
  }
  return signatures
}
