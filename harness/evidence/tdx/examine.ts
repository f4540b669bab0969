/** TDX quotes as one kind of evidence among others. */
import type { Finding } from '../../base/errors.ts'
import { parseTdxQuote, type TdxQuote } from '../../formats/tdx/quote.ts'
import type { Steps } from '../examination.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseTdxQuote } from './appraise.ts'
import { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './collateral.ts'
import { describeTdxQuote } from './describe.ts'
import { tdxRoot } from './simulated-root.ts'
import { type VerifiedTdxQuote, verifyTdxQuote } from './verify.ts'

export type TdxRequest = Pick<
  VerifyRequest,
  'certificates' | 'crls' | 'collateral' | 'policy' | 'nonce' | 'at'
>

export function tdxSteps(quote: Uint8Array, request: TdxRequest): Steps<TdxQuote, VerifiedTdxQuote> {
  return {
    kind: 'tdx-quote',
    parse: () => parseTdxQuote(quote),
    verify: (parsed) => verifyTdxEvidence(parsed, request),
    appraise: (verified): readonly Finding[] => appraiseTdxQuote(verified, request),
    describe: describeTdxQuote,
  }
}

/** Throws FormatError and VerifyError. */
export function verifyTdxEvidence(
  quote: TdxQuote,
  request: Pick<VerifyRequest, 'certificates' | 'crls' | 'collateral' | 'policy' | 'at'>,
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
}: Pick<VerifyRequest, 'certificates' | 'crls' | 'collateral'>): TdxCollateral {
  return mergeTdxCollateral(
    ...[...collateral, ...certificates, ...crls].map((file) => parseTdxCollateral(file)),
  )
}
