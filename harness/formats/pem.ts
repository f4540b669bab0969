/** Textual encoding of certificates and lists (RFC 7468), and files with several of them. */
import { FormatError } from '../base/errors.ts'
import { type Crl, parseCrl } from './crl.ts'
import { DerReader } from './der.ts'
import { type Certificate, parseCertificate, readCertificate } from './x509.ts'

/** More than a chain with its lists takes; bounds what a file can make us hold. */
const MAX_FILE_BYTES = 4 * 1024 * 1024
const MAX_BLOCKS = 64
const BEGIN = '-----BEGIN '
const DASHES = '-----'

/** RFC 7468: a label and its bytes. */
export interface PemBlock {
  readonly label: string
  readonly bytes: Buffer
  /** Of the "-----BEGIN" line in the file. */
  readonly offset: number
}

/** By the first dashes alone: RFC 7468, 2. Never throws. */
export function looksLikePem(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(BEGIN)
}

/**
 * All blocks of a file; text before, between and after them is explanatory and ignored. Throws FormatError. `too-large`
 * above 4 MiB and 64 blocks, `truncated`, `bad-value`, each with the block's offset: RFC 7468, 2 and 3.
 */
export function parsePem(bytes: Uint8Array): readonly PemBlock[] {
  checkSize(bytes)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const blocks: PemBlock[] = []
  for (let at = text.indexOf(BEGIN); at >= 0; at = text.indexOf(BEGIN, at + 1)) {
    if (blocks.length >= MAX_BLOCKS) throw pemError('too-large', at, `has more than ${MAX_BLOCKS} blocks`)
    const block = readBlock(text, at)
    blocks.push(block)
    at = block.end
  }
  return blocks
}

function readBlock(text: string, offset: number): PemBlock & { end: number } {
  const labelStart = offset + BEGIN.length
  const labelEnd = text.indexOf(DASHES, labelStart)
  const label = text.slice(labelStart, Math.max(labelStart, labelEnd))
  if (labelEnd < 0 || label.length > 64 || /[^A-Z0-9 ]/.test(label))
    throw pemError('bad-value', offset, 'has no label of capital letters')
  const closing = `-----END ${label}-----`
  const bodyStart = labelEnd + DASHES.length
  const bodyEnd = text.indexOf(closing, bodyStart)
  if (bodyEnd < 0) throw pemError('truncated', offset, `has no line "${closing}"`)
  const base64 = text.slice(bodyStart, bodyEnd).replaceAll(/[\r\n\t ]+/g, '')
  const bytes = Buffer.from(base64, 'base64')
  // Node's decoder skips what is no base64; encoding again shows it.
  if (base64.length === 0 || bytes.toString('base64') !== base64)
    throw pemError('bad-value', offset, 'is no canonical base64')
  return { label, bytes, offset, end: bodyEnd + closing.length - 1 }
}

/**
 * Certificates of a file: PEM with any number of blocks, of which those of certificates are taken, or one or more DER
 * certificates one after the other. At least one, or FormatError. RFC 7468, 5; at most 4 MiB and 64 certificates.
 */
export function parseCertificates(bytes: Uint8Array): readonly Certificate[] {
  if (!looksLikePem(bytes)) return concatenatedCertificates(bytes)
  const blocks = parsePem(bytes).filter(({ label }) => label === 'CERTIFICATE')
  if (blocks.length === 0) throw pemError('bad-value', 0, 'has no block CERTIFICATE')
  return blocks.map((block) => parseCertificate(block.bytes))
}

function concatenatedCertificates(bytes: Uint8Array): readonly Certificate[] {
  checkSize(bytes)
  const reader = new DerReader(bytes, { what: 'certificate' })
  const certificates: Certificate[] = []
  do {
    if (certificates.length >= MAX_BLOCKS)
      throw reader.error('too-large', 'Certificate', `occurs more than ${MAX_BLOCKS} times`)
    certificates.push(readCertificate(reader))
  } while (!reader.done)
  return certificates
}

/**
 * Revocation lists of a file, PEM or one in DER. At least one, or FormatError. RFC 7468, 6; at most 4 MiB and 64 lists.
 */
export function parseCrls(bytes: Uint8Array): readonly Crl[] {
  if (!looksLikePem(bytes)) return [parseCrl(bytes)]
  const blocks = parsePem(bytes).filter(({ label }) => label === 'X509 CRL')
  if (blocks.length === 0) throw pemError('bad-value', 0, 'has no block X509 CRL')
  return blocks.map((block) => parseCrl(block.bytes))
}

/** "-----BEGIN label-----" and lines of 64 characters, with a newline at the end. RFC 7468, 2. Never throws. */
export function encodePem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}

function checkSize(bytes: Uint8Array): void {
  if (bytes.length > MAX_FILE_BYTES)
    throw pemError('too-large', 0, `has ${bytes.length} bytes, at most ${MAX_FILE_BYTES} are allowed`)
}

function pemError(code: FormatError['code'], offset: number, problem: string): FormatError {
  const message = `cannot parse PEM at 0x${offset.toString(16)}: the text ${problem}`
  return new FormatError(message, { code, field: 'PEM', offset })
}
