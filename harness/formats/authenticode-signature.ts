/**
 * A signature over a PE image: PKCS#7 SignedData (RFC 2315, 9) over SpcIndirectDataContent, as Microsoft's "Windows
 * Authenticode Portable Executable Signature Format" profiles it.
 */
import type { DigestAlgorithm } from '../base/digest.ts'
import { contextTag, type DerElement, DerReader, TAG } from './der.ts'
import { type Certificate, parseCertificate } from './x509.ts'

const SIGNED_DATA = '1.2.840.113549.1.7.2'
const INDIRECT_DATA = '1.3.6.1.4.1.311.2.1.4'
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
const HASHES: Readonly<Record<string, DigestAlgorithm>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}
/** More than any signer adds; bound what is kept. */
const MOST_CERTIFICATES = 32
const MOST_ATTRIBUTES = 32

/**
 * A PE signature, PKCS #7 SignedData over SpcIndirectDataContent: Windows Authenticode Portable Executable Signature
 * Format, "Authenticode signature".
 */
export interface AuthenticodeSignature {
  /** What the signature says of the image. */
  readonly imageDigest: { readonly algorithm: DigestAlgorithm; readonly value: Uint8Array }
  /** The bytes whose digest is `messageDigest`: SpcIndirectDataContent without its tag and length. */
  readonly content: Uint8Array
  readonly certificates: readonly Certificate[]
  /** Which certificate has signed: issuer's Name as encoded, and serial as `Certificate.serial`. */
  readonly signer: { readonly issuer: Uint8Array; readonly serial: string }
  readonly digestAlgorithm: DigestAlgorithm
  readonly messageDigest: Uint8Array
  /** What was signed: the attributes with the tag of a SET. */
  readonly signedAttributes: Uint8Array
  readonly signature: Uint8Array
}

/**
 * Parses one certificate of a table, with what pads it. Throws FormatError, also for several signers. RFC 2315, 9;
 * Microsoft, "Windows Authenticode Portable Executable Signature Format".
 */
export function parseAuthenticodeSignature(bytes: Uint8Array): AuthenticodeSignature {
  const outer = new DerReader(bytes, { what: 'Authenticode signature' })
  const info = outer.sequence('ContentInfo')
  expectOid(info, 'contentType', SIGNED_DATA)
  const explicit = info.explicit(0, 'content')
  if (explicit === undefined) throw info.error('bad-value', 'content', 'is not there')
  const data = explicit.sequence('SignedData')
  data.integerBytes('version')
  data.read(TAG.set, 'digestAlgorithms')
  const { imageDigest, content } = readContent(data.sequence('contentInfo'))
  const certificates = readCertificates(data)
  data.optional(contextTag(1, 'constructed'), 'crls')
  const signers = data.set('signerInfos')
  const signer = readSigner(signers.sequence('SignerInfo'))
  signers.end('signerInfos')
  return { imageDigest, content, certificates, ...signer }
}

function readContent(info: DerReader): Pick<AuthenticodeSignature, 'imageDigest' | 'content'> {
  expectOid(info, 'contentType', INDIRECT_DATA)
  const explicit = info.explicit(0, 'content')
  if (explicit === undefined) throw info.error('bad-value', 'content', 'is not there')
  const element = explicit.read(TAG.sequence, 'SpcIndirectDataContent')
  const indirect = explicit.enter(element, 'SpcIndirectDataContent')
  indirect.read(TAG.sequence, 'data')
  const digestInfo = indirect.sequence('messageDigest')
  const algorithm = readHash(digestInfo, 'digestAlgorithm')
  return {
    imageDigest: { algorithm, value: digestInfo.octetString('digest') },
    content: element.content,
  }
}

function readCertificates(data: DerReader): readonly Certificate[] {
  const element = data.optional(contextTag(0, 'constructed'), 'certificates')
  if (element === undefined) return []
  const reader = data.enter(element, 'certificates')
  const certificates: Certificate[] = []
  while (!reader.done) {
    if (certificates.length === MOST_CERTIFICATES)
      throw reader.error('too-large', 'certificates', `are more than ${MOST_CERTIFICATES}`)
    certificates.push(parseCertificate(reader.read(TAG.sequence, 'Certificate').raw))
  }
  return certificates
}

type SignerInfo = Omit<AuthenticodeSignature, 'imageDigest' | 'content' | 'certificates'>

function readSigner(info: DerReader): SignerInfo {
  info.integerBytes('version')
  const id = info.sequence('issuerAndSerialNumber')
  const issuer = id.read(TAG.sequence, 'issuer').raw
  const serial = Buffer.from(id.integerBytes('serialNumber')).toString('hex')
  const digestAlgorithm = readHash(info, 'digestAlgorithm')
  const attributes = info.read(contextTag(0, 'constructed'), 'authenticatedAttributes')
  info.read(TAG.sequence, 'digestEncryptionAlgorithm')
  return {
    ...{ signer: { issuer, serial }, digestAlgorithm },
    messageDigest: readMessageDigest(info, attributes),
    signedAttributes: Buffer.concat([Uint8Array.of(TAG.set), attributes.raw.subarray(1)]),
    signature: info.octetString('encryptedDigest'),
  }
}

function readMessageDigest(info: DerReader, attributes: DerElement): Uint8Array {
  const reader = info.enter(attributes, 'authenticatedAttributes')
  const found: Uint8Array[] = []
  for (let count = 0; !reader.done; count++) {
    if (count === MOST_ATTRIBUTES)
      throw reader.error('too-large', 'authenticatedAttributes', `are more than ${MOST_ATTRIBUTES}`)
    const attribute = reader.sequence('Attribute')
    if (attribute.oid('type') === MESSAGE_DIGEST)
      found.push(attribute.set('values').octetString('messageDigest'))
  }
  const [digest] = found
  if (digest !== undefined && found.length === 1) return digest
  throw reader.error('bad-value', 'messageDigest', `is there ${found.length} times, must be once`)
}

function readHash(reader: DerReader, field: string): DigestAlgorithm {
  const identifier = reader.sequence(field)
  const oid = identifier.oid('algorithm')
  const hash = HASHES[oid]
  if (hash !== undefined) return hash
  throw identifier.error('bad-value', field, `is ${oid}, which is no SHA-1 or SHA-2 of 256, 384 or 512 bits`)
}

function expectOid(reader: DerReader, field: string, expected: string): void {
  const offset = reader.offset
  const oid = reader.oid(field)
  if (oid !== expected) throw reader.error('bad-value', field, `is ${oid}, must be ${expected}`, offset)
}
