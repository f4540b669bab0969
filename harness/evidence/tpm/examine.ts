/** TPM quotes as one kind of evidence among others. */
import { type Finding, VerifyError } from '../../base/errors.ts'
import { parseAttest } from '../../formats/tpm2/attest.ts'
import { unusedLists } from '../certificates/given-lists.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import type { Steps } from '../examination.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseTpmQuotes } from './appraise.ts'
import { describeTpmQuotes } from './describe.ts'
import { verifyTpmQuote } from './quote.ts'
import { attestationKeyId, readTpmEvidence, type TpmEvidence, tpmEvidenceOf } from './quote-file.ts'
import { type TrustedAk, trustedAk } from './trusted-key.ts'
import type { ParsedTpmQuotes, VerifiedTpmQuotes } from './verified.ts'

/** What quotes are examined with. */
export type TpmRequest = Pick<
  VerifyRequest,
  | 'ak'
  | 'akRoots'
  | 'credential'
  | 'activated'
  | 'certificates'
  | 'crls'
  | 'signature'
  | 'pcrs'
  | 'policy'
  | 'nonce'
  | 'at'
>

/**
 * The steps for TPM quotes (TPM 2.0 Part 3, TPM2_Quote), out of hex and base64 already. Nothing is read before the first of them runs. They throw
 * FormatError, then VerifyError.
 */
export function tpmSteps(bytes: Uint8Array, request: TpmRequest): Steps<ParsedTpmQuotes, VerifiedTpmQuotes> {
  return {
    kind: 'tpm-quote',
    parse: () => withAttests(tpmEvidenceOf(bytes, request)),
    verify: (parsed) => verifyTpmQuotes(parsed, request, trustedAk(request)),
    appraise: (verified) => [
      ...appraiseTpmEvidence(verified, request),
      ...unmetSections(request.policy, ['tpm']),
    ],
    describe: describeTpmQuotes,
  }
}

/**
 * Every finding about quotes, and about the revocation lists that were given for the AK's certificate. FormatError
 * where a list is malformed. TPM 2.0 Part 2, TPMS_ATTEST.
 */
export function appraiseTpmEvidence(
  verified: VerifiedTpmQuotes,
  request: Pick<VerifyRequest, 'crls' | 'policy' | 'nonce' | 'at'>,
): readonly Finding[] {
  const read = (file: Uint8Array) => readEndorsementFiles({ certificates: [], crls: [file] }).crls
  const { akChain } = verified
  return [
    ...appraiseTpmQuotes(verified, request),
    ...(akChain ? unusedLists(request.crls, { path: akChain.path, read }) : []),
  ]
}

/** A file of quotes with each TPMS_ATTEST parsed (TPM 2.0 Part 2). Throws FormatError, as `readTpmEvidence` does. */
export function parseTpmQuotes(
  file: Uint8Array,
  parts: Pick<VerifyRequest, 'signature' | 'pcrs'>,
): ParsedTpmQuotes {
  return withAttests(readTpmEvidence(file, parts))
}

function withAttests(evidence: TpmEvidence): ParsedTpmQuotes {
  const { quotes, unsigned } = evidence
  const attests = [...quotes.map(({ attest }) => attest), ...(unsigned ? [unsigned] : [])]
  return { ...evidence, attests: attests.map(parseAttest) }
}

/**
 * Of several files: a quote without its signature in any of them is one of the whole, so that none is passed over.
 * Never throws.
 */
export function joinedQuotes(files: readonly TpmEvidence[]): TpmEvidence {
  const unsigned = files.find((file) => file.unsigned)?.unsigned
  return {
    quotes: files.flatMap(({ quotes }) => quotes),
    carriedAk: files.find(({ carriedAk }) => carriedAk)?.carriedAk,
    ...(unsigned && { unsigned }),
  }
}

/**
 * Every quote by the one AK, and fresh where a nonce was given. An AK that only the evidence itself vouches for is used
 * to see whether the evidence is consistent, and then refused: anyone can sign with a key of their own. Throws
 * FormatError and VerifyError. TPM 2.0 Part 3, TPM2_Quote.
 */
export function verifyTpmQuotes(
  { quotes, carriedAk, unsigned }: TpmEvidence,
  { nonce, policy }: Pick<TpmRequest, 'nonce' | 'policy'>,
  trusted: TrustedAk | undefined,
): VerifiedTpmQuotes {
  if (unsigned)
    throw new VerifyError('cannot verify the TPM quote: its signature is missing', {
      code: 'endorsement-missing',
      expected: 'a TPMT_SIGNATURE (--signature)',
      got: 'none',
    })
  const key = trusted?.key ?? carriedAk
  // Where the policy says what the qualifying data must be, the appraisal compares them.
  const options = policy.tpm?.extraData === undefined ? { nonce } : {}
  const verified = key === undefined ? [] : quotes.map((quote) => verifyTpmQuote(quote, key, options))
  if (key === undefined || trusted === undefined)
    throw new VerifyError('cannot trust the TPM quote: nobody vouches for its attestation key', {
      code: 'endorsement-missing',
      expected: 'an attestation key that you trust (--ak), or an HCL report that endorses it',
      got: key === undefined ? 'none' : 'only the key that came with the quote',
    })
  return {
    parsed: { quotes, attests: quotes.map(({ attest }) => parseAttest(attest)) },
    quotes: verified,
    pcrs: verified.flatMap(({ pcrs }) => pcrs),
    akId: attestationKeyId(key),
    akFrom: trusted.from,
    ...(trusted.chain && { akChain: trusted.chain }),
    ...(trusted.ekName && { ekName: trusted.ekName }),
  }
}
