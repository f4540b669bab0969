/** TPM quotes: what a TPM signed about its PCRs. TPM 2.0 Part 3, TPM2_Quote; Part 1, "Attestation". */
import { constants, type KeyObject, verify } from 'node:crypto'
import { type DigestAlgorithm, digest, equalBytes } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import { type Attest, type ClockInfo, parseAttest, type QuoteInfo } from '../../formats/tpm2/attest.ts'
import { hashAlgorithm } from '../../formats/tpm2/hash-algorithms.ts'
import type { PcrSelection } from '../../formats/tpm2/pcr-selection.ts'
import { publicKeyObject, type TpmPublic } from '../../formats/tpm2/public.ts'
import type { TpmSignature } from '../../formats/tpm2/signature.ts'

/** Values of one bank, by index; each as long as the bank's digest. TPM 2.0 Part 2, TPML_DIGEST. */
export interface PcrBank {
  readonly bank: DigestAlgorithm
  readonly values: ReadonlyMap<number, Uint8Array>
}

/** A quote as a guest sends it, whatever file it came in. TPM 2.0 Part 3, TPM2_Quote. */
export interface TpmQuote {
  /** TPMS_ATTEST: the bytes that were signed. */
  readonly attest: Uint8Array
  readonly signature: TpmSignature
  /** What the guest says that the PCRs hold; empty where it sent none. */
  readonly pcrs: readonly PcrBank[]
}

/** A public area says what the key may sign; a bare key does not. TPM 2.0 Part 2, TPMT_PUBLIC. */
export type AttestationKey = TpmPublic | KeyObject

/** What is held against a quote beside its signature. TPM 2.0 Part 3, TPM2_Quote (qualifyingData). */
export interface QuoteOptions {
  /** Qualifying data that the quote must carry, at most 64 bytes. Undefined: freshness is not checked here. */
  readonly nonce?: Uint8Array | undefined
}

/** Every value in it was signed by the attestation key. TPM 2.0 Part 2, TPMS_ATTEST. */
export interface VerifiedQuote {
  readonly kind: 'tpm-quote'
  /** Only the values that the quote's digest covers; empty where the guest sent none. */
  readonly pcrs: readonly PcrBank[]
  /** What the signed digest is over, also where the values are not at hand. */
  readonly quote: QuoteInfo
  readonly nonce: Uint8Array
  readonly clockInfo: ClockInfo
  readonly firmwareVersion: bigint
  readonly qualifiedSigner: Uint8Array
  /**
   * True where the AK's public area says "restricted": it signs nothing that only looks like a quote. False where a
   * bare key was given: then whoever vouches for the key must vouch for that too.
   */
  readonly akRestricted: boolean
}

/** Collision resistance is what a signature stands on: no SHA-1. */
const SIGNATURE_HASHES: readonly (DigestAlgorithm | undefined)[] = ['sha256', 'sha384', 'sha512']
const MIN_RSA_BITS = 2048
const CURVES: Readonly<Record<string, number>> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 }

/**
 * Throws FormatError where the structure is malformed, VerifyError `not-a-quote`, `bad-signing-key`, `quote-signature`,
 * `nonce-mismatch` or `pcr-mismatch` at the first break. Says nothing about whose key it is: see the AK's certificate,
 * `verifyActivation`, or the vTPM's endorsement. TPM 2.0 Part 3, TPM2_Quote; Part 2, TPMS_ATTEST.
 */
export function verifyTpmQuote(
  evidence: TpmQuote,
  ak: AttestationKey,
  { nonce }: QuoteOptions = {},
): VerifiedQuote {
  const attest = parseAttest(evidence.attest)
  const quote = mustBeQuote(attest)
  const akRestricted = mustBeAttestationKey(ak)
  verifySignature(evidence, ak)
  if (nonce) mustCarry(attest, nonce)
  const pcrs = evidence.pcrs.length === 0 ? [] : quotedValues(quote, evidence)
  const { clockInfo, firmwareVersion, qualifiedSigner, extraData } = attest
  const signed = { quote, nonce: extraData, clockInfo, firmwareVersion, qualifiedSigner }
  return { kind: 'tpm-quote', pcrs, ...signed, akRestricted }
}

function mustBeQuote({ quote, type }: Attest): QuoteInfo {
  if (quote) return quote
  throw new VerifyError(`cannot verify the TPM quote: what was signed is an attestation of type ${type}`, {
    code: 'not-a-quote',
    expected: 'quote',
    got: type,
  })
}

/** An unrestricted key signs any bytes, also such as look like a quote: TPM 2.0 Part 2, TPMA_OBJECT, "restricted". */
function mustBeAttestationKey(ak: AttestationKey): boolean {
  if (!isPublicArea(ak)) return false
  const { restricted, sign, decrypt, fixedTpm } = ak.attributes
  if (restricted && sign && !decrypt && fixedTpm) return true
  const set = Object.entries(ak.attributes).flatMap(([name, value]) => (value ? [name] : []))
  throw badKey('is no attestation key', {
    expected: 'fixedTPM, restricted, sign, not decrypt',
    got: set.join(', ') || 'no attributes',
  })
}

function isPublicArea(ak: AttestationKey): ak is TpmPublic {
  return 'nameAlgorithm' in ak
}

function badKey(problem: string, values: { readonly expected: string; readonly got: string }): VerifyError {
  return new VerifyError(`cannot verify the TPM quote: its key ${problem}`, {
    code: 'bad-signing-key',
    ...values,
  })
}

function verifySignature({ attest, signature }: TpmQuote, ak: AttestationKey): void {
  const key = isPublicArea(ak) ? publicKeyObject(ak) : ak
  const { bank, name } = signature.hash
  if (!bank || !SIGNATURE_HASHES.includes(bank))
    throw badKey('signs with a hash that is too weak', { expected: 'SHA-256, SHA-384 or SHA-512', got: name })
  if (isPublicArea(ak)) mustUseItsScheme(ak, signature)
  const valid =
    signature.scheme === 'ecdsa'
      ? verifyEcdsa({ key, bank, attest, signature })
      : verifyRsa({ key, bank, attest, signature })
  if (valid) return
  throw new VerifyError('cannot verify the TPM quote: the signature is not by the given attestation key', {
    code: 'quote-signature',
    expected: `${signature.scheme} with ${name} over ${attest.length} bytes`,
    got: 'a signature over other bytes, or by another key',
  })
}

const SCHEME_IDS = { rsassa: 0x14, rsapss: 0x16, ecdsa: 0x18 } as const

/** A restricted key has one scheme; a signature in another was not made by a TPM. */
function mustUseItsScheme({ scheme, schemeHash }: TpmPublic, signature: TpmSignature): void {
  const same = scheme === SCHEME_IDS[signature.scheme] && schemeHash?.id === signature.hash.id
  if (same) return
  throw badKey('has another signature scheme', {
    expected: `scheme 0x${scheme.toString(16)} with ${schemeHash?.name ?? 'no hash'}`,
    got: `${signature.scheme} with ${signature.hash.name}`,
  })
}

interface SignatureCheck<Signature> {
  readonly key: KeyObject
  readonly bank: DigestAlgorithm
  readonly attest: Uint8Array
  readonly signature: Signature
}

type RsaSignature = Extract<TpmSignature, { bytes: Uint8Array }>
type EcdsaSignature = Extract<TpmSignature, { r: Uint8Array }>

function verifyRsa({ key, bank, attest, signature }: SignatureCheck<RsaSignature>): boolean {
  if (key.asymmetricKeyType !== 'rsa')
    throw badKey('is not of the type of the signature', { expected: 'rsa', got: `${key.asymmetricKeyType}` })
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  if (bits < MIN_RSA_BITS)
    throw badKey('is too short', { expected: `${MIN_RSA_BITS} bits or more`, got: `${bits}` })
  const padding =
    signature.scheme === 'rsapss' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  // TPMs differ in the salt's length: Part 1, annex on RSA.
  const saltLength = constants.RSA_PSS_SALTLEN_AUTO
  return verify(bank, attest, { key, padding, saltLength }, signature.bytes)
}

function verifyEcdsa({ key, bank, attest, signature }: SignatureCheck<EcdsaSignature>): boolean {
  if (key.asymmetricKeyType !== 'ec')
    throw badKey('is not of the type of the signature', { expected: 'ec', got: `${key.asymmetricKeyType}` })
  const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
  const bytes = CURVES[curve]
  if (!bytes) throw badKey('is on another curve', { expected: 'P-256, P-384 or P-521', got: curve })
  const { r, s } = signature
  if (r.length > bytes || s.length > bytes) return false
  const fixed = Buffer.alloc(2 * bytes)
  fixed.set(r, bytes - r.length)
  fixed.set(s, 2 * bytes - s.length)
  return verify(bank, attest, { key, dsaEncoding: 'ieee-p1363' }, fixed)
}

function mustCarry({ extraData }: Attest, nonce: Uint8Array): void {
  if (equalBytes(extraData, nonce)) return
  throw new VerifyError(
    'cannot verify the TPM quote: it answers another challenge (qualifying data differ)',
    {
      code: 'nonce-mismatch',
      expected: hex(nonce),
      got: hex(extraData),
    },
  )
}

/** The values that the digest covers, in the order in which it was made; others are dropped. */
function quotedValues(
  { selections, pcrDigest }: QuoteInfo,
  { pcrs, signature }: TpmQuote,
): readonly PcrBank[] {
  const banks = selections.flatMap((selection) => quotedBank(selection, pcrs))
  const covered = digest(
    signature.hash.bank ?? 'sha256',
    ...banks.flatMap(({ values }) => [...values.values()]),
  )
  if (!equalBytes(covered, pcrDigest))
    throw pcrMismatch('the PCR values that came with it are not those that were signed', {
      expected: hex(pcrDigest),
      got: hex(covered),
    })
  return banks
}

/** None where the selection of a bank is empty. */
function quotedBank(
  { algorithm, pcrs: indices }: PcrSelection,
  given: readonly PcrBank[],
): readonly PcrBank[] {
  if (indices.length === 0) return []
  const found = hashAlgorithm(algorithm)
  const values = given.find(({ bank }) => bank === found?.bank)?.values
  const quoted = indices.map((index): [number, Uint8Array] => {
    const value = values?.get(index)
    if (value && value.length === found?.digestBytes) return [index, value]
    throw pcrMismatch(`the value of PCR ${index} (${found?.name ?? algorithm}) did not come with it`, {
      expected: `${found?.digestBytes} bytes`,
      got: value ? `${value.length} bytes` : 'none',
    })
  })
  return found?.bank ? [{ bank: found.bank, values: new Map(quoted) }] : []
}

function pcrMismatch(
  problem: string,
  values: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(`cannot verify the TPM quote: ${problem}`, { code: 'pcr-mismatch', ...values })
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex') || 'nothing'
