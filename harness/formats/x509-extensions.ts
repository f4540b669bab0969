/** Extensions that decide what a certificate may do: RFC 5280, 4.2.1. */
import { DerReader, TAG } from './der.ts'
import { type Certificate, type Extension, findExtension } from './x509.ts'

/** OIDs: RFC 5280, 4.2.1 and 5.2. */
export const EXTENSION = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  certificateIssuer: '2.5.29.29',
  crlDistributionPoints: '2.5.29.31',
  certificatePolicies: '2.5.29.32',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const

/** In the order of their bits. */
const KEY_USAGES = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const

/** Bits of keyUsage by name: RFC 5280, 4.2.1.3. */
export type KeyUsage = (typeof KEY_USAGES)[number]

const MAX_PATH_LENGTH = 255
const MAX_PURPOSES = 32

/** RFC 5280, 4.2.1.9. */
export interface BasicConstraints {
  readonly ca: boolean
  /** How many certificates of authorities may follow below; absent: any number. */
  readonly pathLength?: number
}

/** Undefined where the extension is absent, which is no authority. Throws FormatError. RFC 5280, 4.2.1.9. */
export function basicConstraints(certificate: Certificate): BasicConstraints | undefined {
  const reader = open(certificate, EXTENSION.basicConstraints)
  if (!reader) return undefined
  const sequence = reader.sequence('basicConstraints')
  reader.end('basicConstraints')
  const ca = sequence.peek() === TAG.boolean ? sequence.boolean('cA') : false
  const pathLength = sequence.done ? undefined : sequence.smallInteger('pathLenConstraint', MAX_PATH_LENGTH)
  sequence.end('basicConstraints')
  return pathLength === undefined ? { ca } : { ca, pathLength }
}

/** Undefined where the extension is absent: then the key is not restricted. Throws FormatError. RFC 5280, 4.2.1.3. */
export function keyUsage(certificate: Certificate): ReadonlySet<KeyUsage> | undefined {
  const reader = open(certificate, EXTENSION.keyUsage)
  if (!reader) return undefined
  const { bytes } = reader.bitString('keyUsage')
  reader.end('keyUsage')
  const set = KEY_USAGES.filter((_, bit) => ((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1)
  return new Set(set)
}

/** Purposes as OIDs; undefined where the extension is absent. Throws FormatError. At most 32: RFC 5280, 4.2.1.12. */
export function extendedKeyUsage(certificate: Certificate): readonly string[] | undefined {
  const reader = open(certificate, EXTENSION.extendedKeyUsage)
  if (!reader) return undefined
  const list = reader.sequence('extKeyUsage')
  reader.end('extKeyUsage')
  const purposes: string[] = []
  do {
    if (purposes.length >= MAX_PURPOSES)
      throw list.error('too-large', 'extKeyUsage', `has more than ${MAX_PURPOSES} purposes`)
    purposes.push(list.oid('KeyPurposeId'))
  } while (!list.done)
  return purposes
}

/**
 * A reader over the value of an extension; its errors give offsets in the certificate. RFC 5280, 4.2; what is read with
 * it throws FormatError.
 */
export function extensionReader({ value, offset }: Extension, what = 'certificate'): DerReader {
  return new DerReader(value, { what, base: offset })
}

function open(certificate: Certificate, oid: string): DerReader | undefined {
  const extension = findExtension(certificate, oid)
  return extension && extensionReader(extension)
}
