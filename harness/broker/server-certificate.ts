/** A certificate for a broker of one's own: what guests pin is its SHA-256. */
import 'reflect-metadata'
import { createHash, KeyObject, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

export interface ServerCertificateOptions {
  /** DNS names and IP addresses; at least one. */
  readonly names: readonly string[]
  readonly now: Date
  /** Default 90. */
  readonly days?: number
}

/** A self-signed leaf on P-256. */
export interface ServerCertificate {
  readonly certificatePem: string
  /** PKCS #8. */
  readonly keyPem: string
  /** SHA-256 of the certificate's DER, 64 hex digits. */
  readonly fingerprint: string
}

const DAY_MS = 86_400_000
/** Clocks of guests are behind ours at times. */
const BACKDATED_MS = 3_600_000
const KEY = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** Throws RangeError without a name. */
export async function makeServerCertificate(options: ServerCertificateOptions): Promise<ServerCertificate> {
  const { names, now, days = 90 } = options
  const [first] = names
  if (first === undefined) throw new RangeError('a certificate needs at least one name')
  const keys = await webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      ...{ name: [{ CN: [first] }], keys, signingAlgorithm: KEY },
      notBefore: new Date(now.getTime() - BACKDATED_MS),
      notAfter: new Date(now.getTime() + days * DAY_MS),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(names.map(alternativeName)),
      ],
    },
    webcrypto as typeof globalThis.crypto,
  )
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    keyPem: KeyObject.from(keys.privateKey).export({ format: 'pem', type: 'pkcs8' }).toString(),
    fingerprint: createHash('sha256').update(new Uint8Array(certificate.rawData)).digest('hex'),
  }
}

function alternativeName(name: string): x509.JsonGeneralName {
  const isAddress = name.includes(':') || /^\d+[.]\d+[.]\d+[.]\d+$/.test(name)
  return { type: isAddress ? 'ip' : 'dns', value: name }
}
