/** TPMT_SIGNATURE: TPM 2.0 Part 2. */
import { ByteReader } from '../../base/bytes.ts'
import { type HashAlgorithm, hashAlgorithm } from './hash-algorithms.ts'
import { readSized } from './sized-buffer.ts'

/** TPMI_ALG_SIG_SCHEME, as far as they are read: TPM 2.0 Part 2. */
export const SIGNATURE_SCHEMES = { rsassa: 0x0014, rsapss: 0x0016, ecdsa: 0x0018 } as const
/** One of them. TPM 2.0 Part 2, TPMU_SIGNATURE. */
export type SignatureScheme = keyof typeof SIGNATURE_SCHEMES

/** Coordinates of P-521 and moduli of RSA 4096 are the longest. */
const MAX_ECC_BYTES = 66
const MAX_RSA_BYTES = 512

/** TPMT_SIGNATURE: TPM 2.0 Part 2. */
export type TpmSignature =
  | { readonly scheme: 'rsassa' | 'rsapss'; readonly hash: HashAlgorithm; readonly bytes: Uint8Array }
  /** Big-endian numbers; leading zeros may be missing. */
  | { readonly scheme: 'ecdsa'; readonly hash: HashAlgorithm; readonly r: Uint8Array; readonly s: Uint8Array }

/**
 * Parses a TPMT_SIGNATURE (TPM 2.0 Part 2): at most 512 bytes of RSA, 66 of each ECDSA number. Throws FormatError, also
 * for other schemes.
 */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  const reader = new ByteReader(bytes, { what: 'TPMT_SIGNATURE' })
  const scheme = readScheme(reader)
  const hash = readHash(reader)
  const signature: TpmSignature =
    scheme === 'ecdsa'
      ? {
          scheme,
          hash,
          r: readSized(reader, 'signatureR', { min: 1, max: MAX_ECC_BYTES }),
          s: readSized(reader, 'signatureS', { min: 1, max: MAX_ECC_BYTES }),
        }
      : { scheme, hash, bytes: readSized(reader, 'sig', { min: 1, max: MAX_RSA_BYTES }) }
  reader.end()
  return signature
}

function readScheme(reader: ByteReader): SignatureScheme {
  const value = reader.u16be('sigAlg')
  const schemes = Object.keys(SIGNATURE_SCHEMES) as SignatureScheme[]
  const found = schemes.find((scheme) => SIGNATURE_SCHEMES[scheme] === value)
  if (!found)
    throw reader.error(
      'bad-value',
      'sigAlg',
      `is 0x${value.toString(16)}, must be RSASSA, RSAPSS or ECDSA`,
      0,
    )
  return found
}

function readHash(reader: ByteReader): HashAlgorithm {
  const offset = reader.offset
  const value = reader.u16be('hash')
  const found = hashAlgorithm(value)
  if (!found) throw reader.error('bad-value', 'hash', `is 0x${value.toString(16)}, no hash algorithm`, offset)
  return found
}
