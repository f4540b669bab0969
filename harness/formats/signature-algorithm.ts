/** AlgorithmIdentifiers of signatures: RFC 3279 and 5758 (RSA, ECDSA), RFC 4055 (RSASSA-PSS). */
import type { DigestAlgorithm } from '../base/digest.ts'
import { type DerElement, type DerReader, TAG } from './der.ts'

/** AlgorithmIdentifier of a signature: RFC 4055, RFC 5758. */
export type SignatureAlgorithm =
  /** The mask generation function is MGF1 over the same hash, the trailer field 1. */
  | { readonly kind: 'rsa-pss'; readonly hash: DigestAlgorithm; readonly saltLength: number }
  | { readonly kind: 'rsa-pkcs1'; readonly hash: DigestAlgorithm }
  | { readonly kind: 'ecdsa'; readonly hash: DigestAlgorithm }
  /** Well-formed, and none that we verify. */
  | { readonly kind: 'unsupported'; readonly oid: string }

const RSA_PSS = '1.2.840.113549.1.1.10'
const MGF1 = '1.2.840.113549.1.1.8'
/** More than any hash has; RFC 4055 sets no limit. */
const MAX_SALT_BYTES = 512

const ALGORITHMS: Readonly<Record<string, SignatureAlgorithm>> = {
  '1.2.840.113549.1.1.5': { kind: 'rsa-pkcs1', hash: 'sha1' },
  '1.2.840.113549.1.1.11': { kind: 'rsa-pkcs1', hash: 'sha256' },
  '1.2.840.113549.1.1.12': { kind: 'rsa-pkcs1', hash: 'sha384' },
  '1.2.840.113549.1.1.13': { kind: 'rsa-pkcs1', hash: 'sha512' },
  '1.2.840.10045.4.1': { kind: 'ecdsa', hash: 'sha1' },
  '1.2.840.10045.4.3.2': { kind: 'ecdsa', hash: 'sha256' },
  '1.2.840.10045.4.3.3': { kind: 'ecdsa', hash: 'sha384' },
  '1.2.840.10045.4.3.4': { kind: 'ecdsa', hash: 'sha512' },
}

const HASHES: Readonly<Record<string, DigestAlgorithm>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

/**
 * `element` is an AlgorithmIdentifier read by `parent`. Throws FormatError where its parameters are malformed. RFC
 * 5280, 4.1.1.2; RFC 4055, 3.1; RFC 5758, 3.2.
 */
export function parseSignatureAlgorithm(parent: DerReader, element: DerElement): SignatureAlgorithm {
  const reader = parent.enter(element, 'AlgorithmIdentifier')
  const oid = reader.oid('algorithm')
  if (oid === RSA_PSS) return readPss(reader)
  const known = ALGORITHMS[oid]
  if (!known) return { kind: 'unsupported', oid }
  if (!reader.done) reader.null('parameters')
  reader.end('AlgorithmIdentifier')
  return known
}

/** RSASSA-PSS-params (RFC 4055, 3.1); absent fields mean SHA-1 and a salt of 20 bytes. */
function readPss(algorithm: DerReader): SignatureAlgorithm {
  const reader = algorithm.sequence('RSASSA-PSS-params')
  algorithm.end('AlgorithmIdentifier')
  const hashField = reader.explicit(0, 'hashAlgorithm')
  const hash = hashField ? readHash(hashField, 'hashAlgorithm') : 'sha1'
  const maskField = reader.explicit(1, 'maskGenAlgorithm')
  const maskHash = maskField ? readMask(maskField) : 'sha1'
  const saltField = reader.explicit(2, 'saltLength')
  const saltLength = saltField ? saltField.smallInteger('saltLength', MAX_SALT_BYTES) : 20
  saltField?.end('saltLength')
  const trailerField = reader.explicit(3, 'trailerField')
  if (trailerField && trailerField.smallInteger('trailerField', 255) !== 1)
    throw reader.error('bad-value', 'trailerField', 'is not 1')
  trailerField?.end('trailerField')
  reader.end('RSASSA-PSS-params')
  if (hash === undefined || maskHash !== hash) return { kind: 'unsupported', oid: RSA_PSS }
  return { kind: 'rsa-pss', hash, saltLength }
}

function readMask(field: DerReader): DigestAlgorithm | undefined {
  const reader = field.sequence('maskGenAlgorithm')
  field.end('maskGenAlgorithm')
  if (reader.oid('maskGenAlgorithm') !== MGF1) return undefined
  return readHash(reader, 'maskGenAlgorithm')
}

function readHash(field: DerReader, name: string): DigestAlgorithm | undefined {
  const reader = field.sequence(name)
  field.end(name)
  const hash = HASHES[reader.oid(name)]
  if (reader.peek() === TAG.null) reader.null(name)
  reader.end(name)
  return hash
}

/** "RSASSA-PSS SHA-384 salt 48", for people. Never throws. */
export function algorithmText(algorithm: SignatureAlgorithm): string {
  if (algorithm.kind === 'unsupported') return algorithm.oid
  const hash = algorithm.hash.replace('sha', 'SHA-').toUpperCase()
  if (algorithm.kind === 'rsa-pss') return `RSASSA-PSS ${hash} salt ${algorithm.saltLength}`
  return algorithm.kind === 'ecdsa' ? `ECDSA ${hash}` : `RSASSA-PKCS1-v1_5 ${hash}`
}
