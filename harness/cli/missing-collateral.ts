/** What Intel's service, or a cache of it, has to be asked for, beside what is at hand. */
import { boundedFetch } from '../evidence/collect/bounded-fetch.ts'
import { attempt } from '../evidence/collect/vouched.ts'
import type { TdxCollateral } from '../evidence/tdx/collateral.ts'
import { carriedCertificates } from '../evidence/tdx/pck.ts'
import { type CollateralPart, fetchTdxCollateral, platformSelector } from '../evidence/tdx/pcs.ts'
import { INTEL_TDX_ROOT } from '../evidence/tdx/root.ts'
import { TCB_SIGNING } from '../evidence/tdx/verify-collateral.ts'
import type { TdxQuote } from '../formats/tdx/quote.ts'
import { commonName } from '../formats/x509.ts'
import type { Missing } from './missing-certificates.ts'

export interface PlatformNeed {
  readonly have: TdxCollateral
  readonly at: Date
  /** Default Intel's. */
  readonly service: string | undefined
}

/** Part by part: a list is due a month after the documents are. None where the quote does not say what to ask for. */
export function missingForPlatform(quote: TdxQuote, { have, at, service }: PlatformNeed): readonly Missing[] {
  const selector = attempt(() => platformSelector(quote))
  if (selector === undefined) return []
  const missing = partsMissing(quote, { have, at, fmspc: selector.fmspc })
  return missing.map((part) => ({
    what: WORDS[part],
    alternatives: [
      async () => {
        const fetch = (url: string) => boundedFetch(new URL(url))
        const files = await fetchTdxCollateral(selector, {
          ...{ fetch, parts: [part] },
          ...(service !== undefined && { service }),
        })
        // Not every service sends the chain along; the quote has the authority that signs the PCK's list.
        const [, authority] = carriedCertificates(quote)
        return [...files.map(({ bytes }) => bytes), ...(authority ? [authority.raw] : [])]
      },
    ],
  }))
}

const WORDS: Readonly<Record<CollateralPart, string>> = {
  'tcb-info': 'TCB info',
  'qe-identity': 'QE identity',
  'pck-crl': "the revocation list of the PCK's authority",
  'root-crl': 'the revocation list of the root',
}

function partsMissing(
  quote: TdxQuote,
  { have, at, fmspc }: Pick<PlatformNeed, 'have' | 'at'> & { readonly fmspc: string },
): readonly CollateralPart[] {
  const isCurrent = (from: Date, until: Date | undefined) => from <= at && until !== undefined && at <= until
  const { tcbInfos, qeIdentities, certificates, crls } = have
  const hasList = (issuer: Uint8Array) =>
    crls.some(
      (list) => Buffer.compare(list.issuer.raw, issuer) === 0 && isCurrent(list.thisUpdate, list.nextUpdate),
    )
  // What signs the documents comes along with them.
  const hasSigner = certificates.some(
    ({ subject, notBefore, notAfter }) =>
      commonName(subject)?.includes(TCB_SIGNING) === true && isCurrent(notBefore, notAfter),
  )
  const hasTcbInfo = tcbInfos.some(
    ({ content }) =>
      Buffer.from(content.fmspc).toString('hex') === fmspc &&
      isCurrent(content.issueDate, content.nextUpdate),
  )
  const hasIdentity = qeIdentities.some(({ content }) => isCurrent(content.issueDate, content.nextUpdate))
  const [leaf, authority] = attempt(() => carriedCertificates(quote)) ?? []
  const rootName = authority?.issuer.raw ?? INTEL_TDX_ROOT.anchor.name
  return [
    ...(hasTcbInfo && hasSigner ? [] : (['tcb-info'] as const)),
    ...(hasIdentity ? [] : (['qe-identity'] as const)),
    ...(leaf && hasList(leaf.issuer.raw) ? [] : (['pck-crl'] as const)),
    ...(hasList(rootName) ? [] : (['root-crl'] as const)),
  ]
}
