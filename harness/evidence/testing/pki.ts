/**
 * A public key infrastructure for tests and for the emulated TEE: keys and certificates made when they are asked for,
 * none of them kept. A specification says what a certificate has; what it does not say is right.
 */
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import {
  bitString,
  boolean,
  der,
  explicit,
  integer,
  nothing,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8,
} from '../../formats/testing/der-writer.ts'

export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

export type SigningAlgorithm =
  | 'ecdsa-sha256'
  | 'ecdsa-sha384'
  | 'rsa-pss-sha384'
  | 'rsa-pss-sha256'
  | 'rsa-sha256'
  | 'rsa-sha1'

export function ecKeyPair(curve: 'P-256' | 'P-384' | 'P-521' = 'P-384'): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: curve })
}

export function rsaKeyPair(bits = 2048): KeyPair {
  return generateKeyPairSync('rsa', { modulusLength: bits })
}

/** SubjectPublicKeyInfo. */
export function publicKeyInfo({ publicKey }: Pick<KeyPair, 'publicKey'>): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' })
}

const COMMON_NAME = '2.5.4.3'

/** A Name of one attribute; `value` as encoded, so that tests can choose its type. */
export function commonNameOf(value: string | Uint8Array): Buffer {
  return sequence(set(sequence(oid(COMMON_NAME), typeof value === 'string' ? utf8(value) : value)))
}

export interface CertificateSpec {
  /** DER Names. */
  readonly subject: Uint8Array
  readonly issuer: Uint8Array
  /** SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly signer: KeyPair
  readonly algorithm?: SigningAlgorithm
  /** Default 1. */
  readonly serial?: number | Uint8Array
  /** Default 2024-01-01 to 2034-01-01. */
  readonly notBefore?: Date
  readonly notAfter?: Date
  /** DER Extensions, see below; default none. */
  readonly extensions?: readonly Uint8Array[]
}

/** DER of a version 3 certificate. */
export function makeCertificate(spec: CertificateSpec): Buffer {
  const { algorithm = defaultAlgorithm(spec.signer), extensions = [] } = spec
  const tbs = sequence(
    explicit(0, integer(2)),
    integer(spec.serial ?? 1),
    algorithmIdentifier(algorithm),
    spec.issuer,
    sequence(
      time(spec.notBefore ?? new Date('2024-01-01T00:00:00Z')),
      time(spec.notAfter ?? new Date('2034-01-01T00:00:00Z')),
    ),
    spec.subject,
    spec.publicKey,
    ...(extensions.length > 0 ? [explicit(3, sequence(...extensions))] : []),
  )
  return signed(tbs, { algorithm, signer: spec.signer })
}

export interface CrlSpec {
  readonly issuer: Uint8Array
  readonly signer: KeyPair
  readonly algorithm?: SigningAlgorithm
  /** Default 2024-06-01 to 2034-01-01; null leaves nextUpdate out. */
  readonly thisUpdate?: Date
  readonly nextUpdate?: Date | null
  readonly revoked?: readonly {
    readonly serial: number | Uint8Array
    readonly extensions?: readonly Uint8Array[]
  }[]
  readonly extensions?: readonly Uint8Array[]
}

/** DER of a version 2 revocation list. */
export function makeCrl(spec: CrlSpec): Buffer {
  const { algorithm = defaultAlgorithm(spec.signer), revoked = [], extensions = [] } = spec
  const { thisUpdate = new Date('2024-06-01T00:00:00Z'), nextUpdate = new Date('2034-01-01T00:00:00Z') } =
    spec
  const entries = revoked.map(({ serial, extensions: ofEntry = [] }) =>
    sequence(integer(serial), time(thisUpdate), ...(ofEntry.length > 0 ? [sequence(...ofEntry)] : [])),
  )
  const tbs = sequence(
    integer(1),
    algorithmIdentifier(algorithm),
    spec.issuer,
    time(thisUpdate),
    ...(nextUpdate ? [time(nextUpdate)] : []),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    ...(extensions.length > 0 ? [explicit(0, sequence(...extensions))] : []),
  )
  return signed(tbs, { algorithm, signer: spec.signer })
}

interface Signing {
  readonly algorithm: SigningAlgorithm
  readonly signer: KeyPair
}

function signed(tbs: Buffer, { algorithm, signer }: Signing): Buffer {
  const hash = algorithm.slice(algorithm.lastIndexOf('-') + 1)
  const saltLength = hash === 'sha384' ? 48 : 32
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }
  const key = { key: signer.privateKey, ...(algorithm.startsWith('rsa-pss-') && pss) }
  return sequence(tbs, algorithmIdentifier(algorithm), bitString(sign(hash, tbs, key)))
}

function defaultAlgorithm({ privateKey }: KeyPair): SigningAlgorithm {
  if (privateKey.asymmetricKeyType === 'rsa') return 'rsa-pss-sha384'
  return privateKey.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? 'ecdsa-sha256' : 'ecdsa-sha384'
}

function algorithmIdentifier(algorithm: SigningAlgorithm): Buffer {
  switch (algorithm) {
    case 'ecdsa-sha256':
      return sequence(oid('1.2.840.10045.4.3.2'))
    case 'ecdsa-sha384':
      return sequence(oid('1.2.840.10045.4.3.3'))
    case 'rsa-sha256':
      return sequence(oid('1.2.840.113549.1.1.11'), nothing())
    case 'rsa-sha1':
      return sequence(oid('1.2.840.113549.1.1.5'), nothing())
    case 'rsa-pss-sha384':
      return pssAlgorithm('2.16.840.1.101.3.4.2.2', 48)
    case 'rsa-pss-sha256':
      return pssAlgorithm('2.16.840.1.101.3.4.2.1', 32)
  }
}

function pssAlgorithm(hash: string, saltLength: number): Buffer {
  const hashAlgorithm = sequence(oid(hash), nothing())
  const mask = sequence(oid('1.2.840.113549.1.1.8'), hashAlgorithm)
  const parameters = sequence(explicit(0, hashAlgorithm), explicit(1, mask), explicit(2, integer(saltLength)))
  return sequence(oid('1.2.840.113549.1.1.10'), parameters)
}

/** `value` is the content of extnValue. */
export function extension(id: string, value: Uint8Array, criticality?: 'critical'): Buffer {
  return sequence(oid(id), ...(criticality ? [boolean('true')] : []), octetString(value))
}

/** basicConstraints of an authority. */
export function authority(pathLength?: number): Buffer {
  const length = pathLength === undefined ? [] : [integer(pathLength)]
  return extension('2.5.29.19', sequence(boolean('true'), ...length), 'critical')
}

/** keyUsage with the bits of RFC 5280, 4.2.1.3: 0 digitalSignature, 5 keyCertSign, 6 cRLSign. */
export function keyUsageBits(...bits: readonly number[]): Buffer {
  const byte = bits.reduce((value, bit) => value | (0x80 >> bit), 0)
  const unused = byte === 0 ? 0 : 31 - Math.clz32(byte & -byte)
  return extension('2.5.29.15', bitString(Buffer.from([byte]), unused), 'critical')
}

export function purposes(...ids: readonly string[]): Buffer {
  return extension('2.5.29.37', sequence(...ids.map(oid)))
}

/** cRLReason of an entry: 1 keyCompromise, 6 certificateHold. */
export function reason(code: number): Buffer {
  return extension('2.5.29.21', der(0x0a, Buffer.from([code])))
}
