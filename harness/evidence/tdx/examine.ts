/** TDX quotes as one kind of evidence among others. */
import type { Finding } from '../../base/errors.ts'
import { parseTdxQuote, type TdxQuote } from '../../formats/tdx/quote.ts'
import { unusedLists } from '../certificates/given-lists.ts'
import type { Steps } from '../examination.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseTdxQuote } from './appraise.ts'
import { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './collateral.ts'
import { describeTdxQuote } from './describe.ts'
import { tdxRoot } from './simulated-root.ts'
import { type VerifiedTdxQuote, verifyTdxQuote } from './verify.ts'

/** What a quote is examined with. */
export type TdxRequest = Pick<
  VerifyRequest,
  'certificates' | 'crls' | 'collateral' | 'found' | 'policy' | 'nonce' | 'at'
>

/**
 * The steps for TDX quotes of version 4 and 5: Intel TDX DCAP Quoting Library, appendix A. They throw FormatError, then
 * VerifyError.
 */
export function tdxSteps(quote: Uint8Array, request: TdxRequest): Steps<TdxQuote, VerifiedTdxQuote> {
  return {
    kind: 'tdx-quote',
    parse: () => parseTdxQuote(quote),
    verify: (parsed) => verifyTdxEvidence(parsed, request),
    appraise: (verified) => [
      ...appraiseTdxEvidence(verified, request),
      ...unmetSections(request.policy, ['tdx']),
    ],
    describe: describeTdxQuote,
  }
}

/**
 * Every finding about a quote, and about the revocation lists that were given. FormatError where a list is malformed.
 * Intel PCS API v4, "Get TDX TCB Info".
 */
export function appraiseTdxEvidence(
  verified: VerifiedTdxQuote,
  request: Pick<VerifyRequest, 'crls' | 'policy' | 'nonce' | 'at'>,
): readonly Finding[] {
  const read = (file: Uint8Array) => parseTdxCollateral(file).crls
  return [
    ...appraiseTdxQuote(verified, request),
    // What signs collateral stands below the root, as the PCK's authority does: no other issuer is in a chain.
    ...unusedLists(request.crls, { path: verified.pckChain, read }),
  ]
}

/**
 * A quote with all collateral that was given or found, under the root of its QE vendor. Throws FormatError for a
 * malformed endorsement, and what `verifyTdxQuote` throws. Intel TDX DCAP Quoting Library API, "Quote Format"; Intel
 * PCS API v4.
 */
export function verifyTdxEvidence(
  quote: TdxQuote,
  request: Pick<VerifyRequest, 'certificates' | 'crls' | 'collateral' | 'found' | 'policy' | 'at'>,
): VerifiedTdxQuote {
  const collateral = tdxCollateral(request)
  const root = tdxRoot(quote.header.qeVendorId, collateral.certificates, request)
  return verifyTdxQuote(quote, collateral, { at: request.at, root })
}

/** Certificates and lists count as collateral however they were given. Throws FormatError. */
function tdxCollateral({
  certificates,
  crls,
  collateral,
  found = { certificates: [], crls: [], collateral: [] },
}: Pick<VerifyRequest, 'certificates' | 'crls' | 'collateral' | 'found'>): TdxCollateral {
  const given = [...collateral, ...certificates, ...crls]
  return mergeTdxCollateral(
    ...[...given, ...found.collateral, ...found.certificates, ...found.crls].map((file) =>
      parseTdxCollateral(file),
    ),
  )
}
