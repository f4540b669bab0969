/** TDX quotes as one kind of evidence among others. */
import type { Finding } from '../../base/errors.ts'
import { parseTdxQuote, type TdxQuote } from '../../formats/tdx/quote.ts'
import type { Steps } from '../examination.ts'
import type { VerifyRequest } from '../verify-evidence.ts'
import { appraiseTdxQuote } from './appraise.ts'
import { mergeTdxCollateral, parseTdxCollateral, type TdxCollateral } from './collateral.ts'
import { describeTdxQuote } from './describe.ts'
import { type VerifiedTdxQuote, verifyTdxQuote } from './verify.ts'

export type TdxRequest = Pick<
  VerifyRequest,
  'certificates' | 'crls' | 'collateral' | 'policy' | 'nonce' | 'at'
>

export function tdxSteps(quote: Uint8Array, request: TdxRequest): Steps<TdxQuote, VerifiedTdxQuote> {
  return {
    kind: 'tdx-quote',
    parse: () => parseTdxQuote(quote),
    verify: (parsed) => verifyTdxQuote(parsed, tdxCollateral(request), { at: request.at }),
    appraise: (verified): readonly Finding[] => appraiseTdxQuote(verified, request),
    describe: describeTdxQuote,
  }
}

/** Certificates and lists count as collateral however they were given. Throws FormatError. */
export function tdxCollateral({
  certificates,
  crls,
  collateral,
}: Pick<VerifyRequest, 'certificates' | 'crls' | 'collateral'>): TdxCollateral {
  return mergeTdxCollateral(...[...collateral, ...certificates, ...crls].map((file) => parseTdxCollateral(file)))
}
