/** Certificate revocation lists, version 1 and 2: RFC 5280, chapter 5. */
import { type DerElement, DerReader, TAG } from './der.ts'
import { parseSignatureAlgorithm, type SignatureAlgorithm } from './signature-algorithm.ts'
import { type Extension, type Name, readExtensionList, readName } from './x509.ts'
import { EXTENSION, extensionReader } from './x509-extensions.ts'

/** Intel's list of platforms has 3 KiB; a list of 20,000 certificates has less than this. */
const MAX_CRL_BYTES = 1024 * 1024
const MAX_ENTRIES = 20_000
const MAX_SERIAL_BYTES = 21

/** An entry: RFC 5280, 5.1.2.6 and 5.3. */
export interface RevokedCertificate {
  /** Lower-case hex of the INTEGER's content octets. */
  readonly serial: string
  readonly date: Date
  /** RFC 5280, 5.3.1; absent: unspecified. 8 is removeFromCRL, which only delta lists may have. */
  readonly reason?: number
  /** OIDs of critical extensions other than the reason: who does not understand them cannot use the list. */
  readonly criticalExtensions: readonly string[]
}

/** A revocation list of version 2: RFC 5280, 5.1. */
export interface Crl {
  readonly raw: Uint8Array
  /** What the signature covers. */
  readonly tbs: Uint8Array
  readonly issuer: Name
  readonly thisUpdate: Date
  /** Absent: the list does not say when it ends; verifyChain refuses such a list. */
  readonly nextUpdate?: Date
  /** By serial number, as `Certificate.serial` spells it. */
  readonly revoked: ReadonlyMap<string, RevokedCertificate>
  readonly extensions: readonly Extension[]
  readonly signatureAlgorithm: SignatureAlgorithm
  readonly signature: Uint8Array
}

/**
 * Parses one DER CertificateList that fills `bytes` (RFC 5280, 5.1): at most 1 MiB and 20000 entries. Throws
 * FormatError, also where the algorithm inside the signed part differs from the one outside.
 */
export function parseCrl(bytes: Uint8Array): Crl {
  const reader = new DerReader(bytes, { what: 'revocation list' })
  if (bytes.length > MAX_CRL_BYTES)
    throw reader.error(
      'too-large',
      'CertificateList',
      `has ${bytes.length} bytes, at most ${MAX_CRL_BYTES} are allowed`,
    )
  const whole = reader.read(TAG.sequence, 'CertificateList')
  reader.end('CertificateList')
  const outer = reader.enter(whole, 'CertificateList')
  const tbs = outer.read(TAG.sequence, 'tbsCertList')
  const algorithm = outer.read(TAG.sequence, 'signatureAlgorithm')
  const { unusedBits, bytes: signature } = outer.bitString('signatureValue')
  if (unusedBits !== 0) throw outer.error('bad-value', 'signatureValue', 'is not a whole number of bytes')
  outer.end('CertificateList')
  const fields = readTbs(outer.enter(tbs, 'tbsCertList'), algorithm)
  return { raw: whole.raw, tbs: tbs.raw, ...fields, signature }
}

function readTbs(reader: DerReader, outerAlgorithm: DerElement): Omit<Crl, 'raw' | 'tbs' | 'signature'> {
  const version = reader.peek() === TAG.integer ? reader.smallInteger('version', 1) + 1 : 1
  const algorithm = reader.read(TAG.sequence, 'signature')
  if (Buffer.compare(algorithm.raw, outerAlgorithm.raw) !== 0)
    throw reader.error('bad-value', 'signature', 'differs from signatureAlgorithm', algorithm.offset)
  const signatureAlgorithm = parseSignatureAlgorithm(reader, algorithm)
  const issuer = readName(reader, 'issuer')
  const thisUpdate = reader.time('thisUpdate')
  const dated = reader.peek() === TAG.utcTime || reader.peek() === TAG.generalizedTime
  const nextUpdate = dated ? reader.time('nextUpdate') : undefined
  const revoked = reader.peek() === TAG.sequence ? readEntries(reader) : new Map<string, RevokedCertificate>()
  const tagged = version === 2 ? reader.explicit(0, 'crlExtensions') : undefined
  const extensions = tagged ? readExtensionList(tagged) : []
  tagged?.end('crlExtensions')
  reader.end('tbsCertList')
  return {
    ...{ issuer, thisUpdate, revoked, extensions, signatureAlgorithm },
    ...(nextUpdate && { nextUpdate }),
  }
}

function readEntries(reader: DerReader): Map<string, RevokedCertificate> {
  const list = reader.sequence('revokedCertificates')
  const revoked = new Map<string, RevokedCertificate>()
  while (!list.done) {
    const entry = list.sequence('revokedCertificate')
    const at = entry.offset
    const serial = entry.integerBytes('userCertificate')
    if (serial.length > MAX_SERIAL_BYTES || revoked.size >= MAX_ENTRIES)
      throw entry.error(
        'too-large',
        'revokedCertificates',
        `has a long serial or over ${MAX_ENTRIES} entries`,
        at,
      )
    const date = entry.time('revocationDate')
    const extensions = entry.done ? [] : readExtensionList(entry)
    entry.end('revokedCertificate')
    const text = Buffer.from(serial).toString('hex')
    revoked.set(text, { serial: text, date, ...meaning(extensions) })
  }
  return revoked
}

function meaning(extensions: readonly Extension[]): Omit<RevokedCertificate, 'serial' | 'date'> {
  const understood: readonly string[] = [EXTENSION.reasonCode, EXTENSION.invalidityDate]
  const criticalExtensions = extensions
    .filter(({ oid, critical }) => critical && !understood.includes(oid))
    .map(({ oid }) => oid)
  const extension = extensions.find(({ oid }) => oid === EXTENSION.reasonCode)
  if (!extension) return { criticalExtensions }
  const reader = extensionReader(extension, 'revocation list')
  const { content, contentOffset } = reader.read(TAG.enumerated, 'reasonCode')
  reader.end('reasonCode')
  const [reason] = content
  if (content.length !== 1 || reason === undefined || reason > 10)
    throw reader.error('bad-value', 'reasonCode', 'is no CRLReason from 0 to 10', contentOffset)
  return { criticalExtensions, reason }
}
