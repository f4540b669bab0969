/** TPM quotes from the files that guests' tools write, each recognised by its first bytes. */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { sha256Hex } from '../../base/digest.ts'
import { FormatError, VerifyError } from '../../base/errors.ts'
import { looksLikePem } from '../../formats/pem.ts'
import {
  parseTpm2bPublic,
  parseTpmPublic,
  publicKeyObject,
  type TpmPublic,
} from '../../formats/tpm2/public.ts'
import { plainBytes } from '../text-forms.ts'
import { isJson } from '../unwrap.ts'
import { parseAzureEvidence, parseAzureQuote, parseTrusteeTpmEvidence } from '../vtpm/azure-evidence.ts'
import { parseAzCvmVtpmQuote } from './files/az-cvm-vtpm.ts'
import { parseGoTpmToolsAttestation } from './files/go-tpm-tools.ts'
import { parseKeylimeQuote } from './files/keylime.ts'
import { parseTpm2ToolsQuote } from './files/tpm2-tools.ts'
import type { AttestationKey, TpmQuote } from './quote.ts'

/** What a file of quotes holds, whatever tool wrote it. TPM 2.0 Part 3, TPM2_Quote. */
export interface TpmEvidence {
  /** A guest with several banks may send one for each. */
  readonly quotes: readonly TpmQuote[]
  /** TPMS_ATTEST whose signature is not at hand: it can be shown, and no more. */
  readonly unsigned?: Uint8Array
  /** What came along and nobody vouches for. */
  readonly carriedAk?: AttestationKey | undefined
  readonly eventLog?: Uint8Array | undefined
}

/**
 * Files that belong to a TPMS_ATTEST: as `tpm2_quote -s` and `-o` write them. TPM 2.0 Part 2; tpm2-tools 5, lib/pcr.c.
 */
export interface QuoteParts {
  /** TPMT_SIGNATURE, where the evidence is TPMS_ATTEST alone. */
  readonly signature?: Uint8Array | undefined
  readonly pcrs?: Uint8Array | undefined
}

const TPM_GENERATED = 'ff544347'
const LETTER_R = 0x72
const PROTOBUF_FIELD_1 = 0x0a

/**
 * At least one quote, or one without its signature; files in hex or base64 are decoded first. JSON has at most 1 MiB,
 * Keylime's text 64 KiB, a protobuf 4 MiB; all else is as long as its counts say. Throws FormatError. TPM 2.0 Part 2,
 * TPMS_ATTEST.
 */
export function readTpmEvidence(file: Uint8Array, parts: QuoteParts = {}): TpmEvidence {
  return tpmEvidenceOf(plainBytes(file), parts)
}

/**
 * The same of bytes that are out of hex and base64 already: they are not looked at for them again, `parts` are. Throws
 * FormatError. TPM 2.0 Part 2, TPMS_ATTEST.
 */
export function tpmEvidenceOf(bytes: Uint8Array, parts: QuoteParts = {}): TpmEvidence {
  const attest = bareAttest(bytes)
  const signature = parts.signature && plainBytes(parts.signature)
  const pcrs = parts.pcrs && plainBytes(parts.pcrs)
  if (attest && signature === undefined) return { quotes: [], unsigned: attest }
  if (attest && signature) return { quotes: [parseTpm2ToolsQuote({ attest, signature, pcrs })] }
  const text = () => Buffer.from(bytes).toString('utf8')
  if (isJson(bytes)) return fromJson(text())
  if (bytes[0] === LETTER_R) return { quotes: [parseKeylimeQuote(text())] }
  if (bytes[0] !== PROTOBUF_FIELD_1) return { quotes: [parseAzCvmVtpmQuote(bytes)] }
  const { ak, quotes, eventLog } = parseGoTpmToolsAttestation(bytes)
  if (quotes.length === 0)
    throw new FormatError('cannot parse Attestation protobuf at 0x0: it has no quote', {
      ...{ code: 'bad-value', field: 'quotes', offset: 0 },
    })
  return { quotes, carriedAk: ak, eventLog }
}

/** TPMS_ATTEST, or what a TPM2B around it holds. */
function bareAttest(bytes: Uint8Array): Uint8Array | undefined {
  const head = Buffer.from(bytes.subarray(0, 6)).toString('hex')
  if (head.startsWith(TPM_GENERATED)) return bytes
  const sized = head.slice(4) === TPM_GENERATED && Number.parseInt(head.slice(0, 4), 16) === bytes.length - 2
  return sized ? bytes.subarray(2) : undefined
}

/** By members: `ak_public` is Trustee's evidence of a TPM, `hcl_report` or `report` that of Azure. */
function fromJson(text: string): TpmEvidence {
  const has = (name: string) => text.includes(`"${name}"`)
  if (has('ak_public')) {
    const { akPublic, quote } = parseTrusteeTpmEvidence(text)
    return { quotes: [quote], carriedAk: keyFromDer(akPublic) }
  }
  return {
    quotes: [has('hcl_report') || has('report') ? parseAzureEvidence(text).quote : parseAzureQuote(text)],
  }
}

/**
 * An AK as a file: PEM or DER of a public key or a certificate, TPM2B_PUBLIC, TPMT_PUBLIC, or evidence that carries
 * one. PEM and DER have at most 64 KiB. Whoever gives it vouches for it. Throws FormatError; VerifyError `expired` or
 * `not-yet-valid` for a certificate. RFC 5280, 4.1; TPM 2.0 Part 2, TPM2B_PUBLIC.
 */
export function readAttestationKey(file: Uint8Array, at: Date): AttestationKey {
  const bytes = looksLikePem(file) ? file : plainBytes(file)
  if (isJson(bytes) || bytes[0] === PROTOBUF_FIELD_1) return carriedKey(bytes)
  if (bytes.length > MAX_KEY_BYTES)
    throw noKey(`it has ${bytes.length} bytes, at most ${MAX_KEY_BYTES} are read`, { code: 'too-large' })
  if (looksLikePem(bytes))
    return Buffer.from(bytes).includes('BEGIN CERTIFICATE') ? keyOfCertificate(bytes, at) : keyFromPem(bytes)
  if (bytes[0] === DER_SEQUENCE) return isCertificate(bytes) ? keyOfCertificate(bytes, at) : keyFromDer(bytes)
  const isSized = bytes.length > 2 && ((bytes[0] ?? 0) << 8) + (bytes[1] ?? 0) === bytes.length - 2
  return isSized ? parseTpm2bPublic(bytes) : parseTpmPublic(bytes)
}

const DER_SEQUENCE = 0x30
/** As much as a certificate may have: what is larger is not handed to OpenSSL. */
const MAX_KEY_BYTES = 64 * 1024

function carriedKey(bytes: Uint8Array): AttestationKey {
  const { carriedAk } = tpmEvidenceOf(bytes)
  if (carriedAk) return carriedAk
  throw noKey('it carries no attestation key')
}

/** Node takes a certificate for its key, too, so the two have to be told apart. */
function isCertificate(bytes: Uint8Array): boolean {
  try {
    new X509Certificate(bytes)
    return true
  } catch {
    return false
  }
}

function keyOfCertificate(bytes: Uint8Array, at: Date): KeyObject {
  const { publicKey, validFromDate, validToDate } = new X509Certificate(bytes)
  const problem = at < validFromDate ? 'not-yet-valid' : at > validToDate ? 'expired' : undefined
  if (problem === undefined) return publicKey
  throw new VerifyError(
    "cannot use the attestation key: its certificate's validity does not include the time",
    {
      code: problem,
      expected: `${validFromDate.toISOString()} to ${validToDate.toISOString()}`,
      got: at.toISOString(),
    },
  )
}

function keyFromPem(bytes: Uint8Array): KeyObject {
  try {
    return createPublicKey(Buffer.from(bytes))
  } catch (cause) {
    throw noKey('it is PEM without a public key', { cause })
  }
}

function keyFromDer(der: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
  } catch (cause) {
    throw noKey('it is no SubjectPublicKeyInfo', { cause })
  }
}

function noKey(
  problem: string,
  { code = 'bad-value', cause }: { readonly code?: FormatError['code']; readonly cause?: unknown } = {},
): FormatError {
  return new FormatError(`cannot read the attestation key: ${problem}`, {
    ...{ code, field: 'attestation key', offset: 0, cause },
  })
}

/**
 * SHA-256 of the key's SubjectPublicKeyInfo, hex: what a policy names. 64 digits. Throws FormatError for numbers that
 * are no key. RFC 5280, 4.1.2.7.
 */
export function attestationKeyId(ak: AttestationKey): string {
  const key = isPublicArea(ak) ? publicKeyObject(ak) : ak
  return sha256Hex(key.export({ format: 'der', type: 'spki' }))
}

function isPublicArea(ak: AttestationKey): ak is TpmPublic {
  return 'nameAlgorithm' in ak
}
