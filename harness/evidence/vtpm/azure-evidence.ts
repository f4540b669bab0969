/**
 * Evidence of an Azure confidential VM as Trustee's attester packs it: an HCL report, a quote, the hardware's
 * endorsement.
 */
import { FormatError } from '../../base/errors.ts'
import { type HclReport, parseHclReport } from '../../formats/hcl-report.ts'
import { hashAlgorithm } from '../../formats/tpm2/hash-algorithms.ts'
import { parseTpmSignature, type TpmSignature } from '../../formats/tpm2/signature.ts'
import type { PcrBank, TpmQuote } from '../tpm/quote.ts'

const MAX_CHARACTERS = 1024 * 1024
const MAX_PCRS = 32
const MAX_FIELD_BYTES = 64 * 1024

/** The parts of an Azure attester's document; at most 1 MiB of text. */
export interface AzureEvidence {
  readonly hcl: HclReport
  /** RSASSA with SHA-256 over the SHA-256 bank. */
  readonly quote: TpmQuote
  /** SNP only: the VCEK's certificate, in PEM (version 0, with its chain) or DER. */
  readonly vcek: Uint8Array | undefined
  /** TDX only. */
  readonly tdQuote: Uint8Array | undefined
}

/**
 * `az-snp-vtpm` versions 0 (arrays of numbers) and 1 (hex and base64url), `az-tdx-vtpm` version 1. Throws FormatError.
 * Microsoft, "Guest attestation for confidential VMs"; RFC 8259; at most 1 MiB.
 */
export function parseAzureEvidence(text: string): AzureEvidence {
  const document = parseObject(text)
  const { vcek, td_quote: tdQuote } = document
  const hcl = parseHclReport(bytesOf(document['hcl_report'] ?? document['report'], 'hcl_report'))
  return {
    hcl,
    quote: quoteOf(document['tpm_quote'] ?? document['quote']),
    vcek: vcek === undefined ? undefined : certificateBytes(vcek),
    tdQuote: tdQuote === undefined ? undefined : bytesOf(tdQuote, 'td_quote'),
  }
}

/**
 * A quote alone, in the form that it has within the evidence. Throws FormatError. TPM 2.0 Part 3, TPM2_Quote; at most 1
 * MiB.
 */
export function parseAzureQuote(text: string): TpmQuote {
  return quoteOf(parseObject(text))
}

/** Trustee's evidence of a bare TPM. */
export interface TrusteeTpmEvidence {
  /** SubjectPublicKeyInfo in DER, as the guest sent it. */
  readonly akPublic: Uint8Array
  readonly quote: TpmQuote
}

/** Trustee's `tpm` evidence: base64, with a TPMT_SIGNATURE. Throws FormatError. */
export function parseTrusteeTpmEvidence(text: string): TrusteeTpmEvidence {
  const document = parseObject(text)
  return { akPublic: bytesOf(document['ak_public'], 'ak_public'), quote: quoteOf(document['tpm_quote']) }
}

type JsonObject = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseObject(text: string): JsonObject {
  if (text.length > MAX_CHARACTERS)
    throw malformed(
      'document',
      `has ${text.length} characters, at most ${MAX_CHARACTERS} are read`,
      'too-large',
    )
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw malformed('document', 'is not JSON')
  }
  if (!isObject(value)) throw malformed('document', 'is not a JSON object')
  return value
}

function quoteOf(value: unknown): TpmQuote {
  if (!isObject(value)) throw malformed('quote', 'is not an object')
  const { message, signature, pcrs } = value
  const attest = bytesOf(message, 'message')
  return { attest, signature: signatureOf(bytesOf(signature, 'signature')), pcrs: [bankOf(pcrs)] }
}

/** The attester either keeps TPMT_SIGNATURE or takes the RSA number out of it, which then has the key's 256 bytes. */
function signatureOf(bytes: Uint8Array): TpmSignature {
  const sha256 = hashAlgorithm(0x000b)
  if (bytes.length !== 256 || !sha256) return parseTpmSignature(bytes)
  return { scheme: 'rsassa', hash: sha256, bytes }
}

function bankOf(value: unknown): PcrBank {
  if (!Array.isArray(value) || value.length > MAX_PCRS)
    throw malformed('pcrs', `is not a list of at most ${MAX_PCRS}`)
  const values = value.map((each: unknown, index): [number, Uint8Array] => [
    index,
    bytesOf(each, `pcrs[${index}]`),
  ])
  return { bank: 'sha256', values: new Map(values) }
}

/** A list of numbers, hex, base64 or base64url: which of them is never ambiguous for what is longer than a digest. */
function bytesOf(value: unknown, field: string): Uint8Array {
  if (Array.isArray(value)) return numbersOf(value, field)
  if (typeof value !== 'string') throw malformed(field, 'is missing')
  if (/^(?:[0-9a-f]{2})+$/.test(value)) return Buffer.from(value, 'hex')
  const bytes = Buffer.from(value, 'base64')
  const plain = value.replace(/=+$/, '').replaceAll('+', '-').replaceAll('/', '_')
  if (bytes.length === 0 || bytes.toString('base64url') !== plain)
    throw malformed(field, 'is not hex or base64')
  return bytes
}

function numbersOf(value: readonly unknown[], field: string): Uint8Array {
  if (value.length > MAX_FIELD_BYTES)
    throw malformed(field, `has ${value.length} bytes, at most ${MAX_FIELD_BYTES} are read`, 'too-large')
  if (!value.every((each) => typeof each === 'number' && Number.isInteger(each) && each >= 0 && each <= 255))
    throw malformed(field, 'has something that is no byte')
  return Uint8Array.from(value as readonly number[])
}

function certificateBytes(value: unknown): Uint8Array {
  if (typeof value === 'string' && value.startsWith('-----BEGIN')) return Buffer.from(value)
  return bytesOf(value, 'vcek')
}

function malformed(field: string, problem: string, code: FormatError['code'] = 'bad-value'): FormatError {
  return new FormatError(`cannot parse Azure evidence: ${field} ${problem}`, { code, field, offset: 0 })
}
