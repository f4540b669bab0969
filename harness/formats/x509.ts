/** X.509 certificates as RFC 5280 profiles them: what a verifier needs, each signed part as its exact bytes. */
import { escapeControls } from '../base/text.ts'
import { type DerElement, DerReader, TAG } from './der.ts'
import { type PublicKeyInfo, parsePublicKeyInfo } from './public-key-info.ts'
import { parseSignatureAlgorithm, type SignatureAlgorithm } from './signature-algorithm.ts'

/** Larger than any certificate of a TEE or TPM vendor (2 KiB); bounds what one can make us hold. */
const MAX_CERTIFICATE_BYTES = 64 * 1024
const MAX_EXTENSIONS = 64
const MAX_NAME_ATTRIBUTES = 64
/** RFC 5280, 4.1.2.2: at most 20 octets; one more for a sign byte that some authorities do not count. */
const MAX_SERIAL_BYTES = 21

/** AttributeTypeAndValue: RFC 5280, 4.1.2.4. */
export class NameAttribute {
  readonly oid: string
  readonly #value: DerElement

  constructor(oid: string, value: DerElement) {
    this.oid = oid
    this.#value = value
  }

  /** Safe to print: controls, NUL among them, are escaped. Never compare names by it. */
  get text(): string {
    return readableText(this.#value)
  }
}

/** A distinguished name; compared by its bytes. RFC 5280, 4.1.2.4. */
export interface Name {
  /** The whole Name as encoded. Two names are the same only where these bytes are. */
  readonly raw: Uint8Array
  readonly attributes: readonly NameAttribute[]
}

/** RFC 5280, 4.2. */
export interface Extension {
  readonly oid: string
  readonly critical: boolean
  /** Content of extnValue. */
  readonly value: Uint8Array
  /** Of `value` in the certificate. */
  readonly offset: number
}

/** A certificate of version 3: RFC 5280, 4.1. */
export interface Certificate {
  /** The certificate, and tbsCertificate, which its signature covers; views of the input. */
  readonly raw: Uint8Array
  readonly tbs: Uint8Array
  readonly version: 1 | 2 | 3
  /** Lower-case hex of the INTEGER's content octets. */
  readonly serial: string
  readonly issuer: Name
  readonly subject: Name
  /** Both ends are within the validity. */
  readonly notBefore: Date
  readonly notAfter: Date
  readonly publicKey: PublicKeyInfo
  /** In their order; no two have the same OID. */
  readonly extensions: readonly Extension[]
  readonly signatureAlgorithm: SignatureAlgorithm
  readonly signature: Uint8Array
}

/**
 * Parses one DER certificate that fills `bytes`, at most 64 KiB (RFC 5280, 4.1). Throws FormatError, `too-large` above
 * a limit; also where the algorithm inside the signed part differs from the one outside, or an extension occurs twice.
 */
export function parseCertificate(bytes: Uint8Array): Certificate {
  const reader = new DerReader(bytes, { what: 'certificate' })
  const certificate = readCertificate(reader)
  reader.end('Certificate')
  return certificate
}

/**
 * Reads the next certificate, for callers that have several one after the other. At most 64 KiB; throws FormatError as
 * `parseCertificate`. RFC 5280, 4.1.
 */
export function readCertificate(reader: DerReader): Certificate {
  const whole = reader.read(TAG.sequence, 'Certificate')
  if (whole.raw.length > MAX_CERTIFICATE_BYTES)
    throw reader.error(
      'too-large',
      'Certificate',
      `has ${whole.raw.length} bytes, at most ${MAX_CERTIFICATE_BYTES} are allowed`,
      whole.offset,
    )
  const outer = reader.enter(whole, 'Certificate')
  const tbs = outer.read(TAG.sequence, 'tbsCertificate')
  const algorithm = outer.read(TAG.sequence, 'signatureAlgorithm')
  const { unusedBits, bytes: signature } = outer.bitString('signatureValue')
  if (unusedBits !== 0) throw outer.error('bad-value', 'signatureValue', 'is not a whole number of bytes')
  outer.end('Certificate')
  const fields = readTbs(outer.enter(tbs, 'tbsCertificate'), algorithm)
  return { raw: whole.raw, tbs: tbs.raw, ...fields, signature }
}

function readTbs(
  reader: DerReader,
  outerAlgorithm: DerElement,
): Omit<Certificate, 'raw' | 'tbs' | 'signature'> {
  const versionField = reader.explicit(0, 'version')
  const version = versionField ? versionField.smallInteger('version', 2) + 1 : 1
  versionField?.end('version')
  const serialOffset = reader.offset
  const serial = reader.integerBytes('serialNumber')
  if (serial.length > MAX_SERIAL_BYTES)
    throw reader.error('too-large', 'serialNumber', `has ${serial.length} bytes`, serialOffset)
  const algorithm = reader.read(TAG.sequence, 'signature')
  if (Buffer.compare(algorithm.raw, outerAlgorithm.raw) !== 0)
    throw reader.error('bad-value', 'signature', 'differs from signatureAlgorithm', algorithm.offset)
  const signatureAlgorithm = parseSignatureAlgorithm(reader, algorithm)
  const issuer = readName(reader, 'issuer')
  const validity = reader.sequence('validity')
  const notBefore = validity.time('notBefore')
  const notAfter = validity.time('notAfter')
  validity.end('validity')
  const subject = readName(reader, 'subject')
  const publicKey = parsePublicKeyInfo(reader)
  if (version >= 2) for (const tag of [0x81, 0x82]) reader.optional(tag, 'uniqueIdentifier')
  const extensions = version === 3 ? readExtensions(reader) : []
  reader.end('tbsCertificate')
  return {
    version: version as 1 | 2 | 3,
    serial: Buffer.from(serial).toString('hex'),
    ...{ issuer, subject, notBefore, notAfter, publicKey, extensions, signatureAlgorithm },
  }
}

/** Name: a SEQUENCE of SETs of attributes, at most 64 (RFC 5280, 4.1.2.4). Throws FormatError. */
export function readName(reader: DerReader, field: string): Name {
  const whole = reader.read(TAG.sequence, field)
  const names = reader.enter(whole, field)
  const attributes: NameAttribute[] = []
  while (!names.done) {
    const relative = names.set(field)
    do {
      if (attributes.length >= MAX_NAME_ATTRIBUTES)
        throw names.error('too-large', field, `has more than ${MAX_NAME_ATTRIBUTES} attributes`)
      const attribute = relative.sequence(field)
      const oid = attribute.oid(field)
      attributes.push(new NameAttribute(oid, attribute.any(field)))
      attribute.end(field)
    } while (!relative.done)
  }
  return { raw: whole.raw, attributes }
}

function readableText({ tag, content }: DerElement): string {
  switch (tag) {
    case TAG.utf8String:
    case TAG.printableString:
    case TAG.ia5String:
      return escapeControls(content)
    case TAG.t61String:
      return escapeControls(Buffer.from(content).toString('latin1'))
    case TAG.bmpString:
      return escapeControls(bigEndianUtf16(content))
    default:
      return `#${Buffer.from(content).toString('hex')}`
  }
}

function bigEndianUtf16(content: Uint8Array): string {
  const even = Buffer.from(content.subarray(0, content.length & ~1))
  return even.swap16().toString('utf16le')
}

/**
 * Extensions ::= [3] SEQUENCE OF (RFC 5280, 4.1 and 4.2); also of lists and their entries. At most 64. Throws
 * FormatError.
 */
export function readExtensions(tbs: DerReader): Extension[] {
  const tagged = tbs.explicit(3, 'extensions')
  if (!tagged) return []
  const extensions = readExtensionList(tagged)
  tagged.end('extensions')
  return extensions
}

/** SEQUENCE OF Extension. FormatError where one occurs twice (RFC 5280, 4.2). */
export function readExtensionList(reader: DerReader): Extension[] {
  const list = reader.sequence('extensions')
  const extensions: Extension[] = []
  const seen = new Set<string>()
  while (!list.done) {
    const entry = list.sequence('Extension')
    const at = entry.offset
    const oid = entry.oid('extnID')
    if (seen.has(oid)) throw entry.error('bad-value', 'extnID', `${oid} occurs twice`, at)
    if (seen.size >= MAX_EXTENSIONS)
      throw entry.error('too-large', 'extensions', `are more than ${MAX_EXTENSIONS}`)
    seen.add(oid)
    const critical = entry.peek() === TAG.boolean ? entry.boolean('critical') : false
    const { content, contentOffset } = entry.read(TAG.octetString, 'extnValue')
    entry.end('Extension')
    extensions.push({ oid, critical, value: content, offset: contentOffset })
  }
  return extensions
}

/** Undefined where it has none of this OID. RFC 5280, 4.2. Never throws. */
export function findExtension(
  { extensions }: Pick<Certificate, 'extensions'>,
  oid: string,
): Extension | undefined {
  return extensions.find((extension) => extension.oid === oid)
}

const SHORT_NAMES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
}

/**
 * "CN=ARK-Milan, O=…", in the order of the encoding; for people. Commas within values are not escaped. RFC 5280,
 * 4.1.2.4. Never throws.
 */
export function nameText({ attributes }: Name): string {
  return attributes.map(({ oid, text }) => `${SHORT_NAMES[oid] ?? oid}=${text}`).join(', ')
}

/**
 * Text of the only commonName; undefined where there is none or are several, which none of our vendors has. RFC 5280,
 * 4.1.2.4. Never throws.
 */
export function commonName({ attributes }: Name): string | undefined {
  const names = attributes.filter(({ oid }) => oid === '2.5.4.3')
  return names.length === 1 ? names[0]?.text : undefined
}
