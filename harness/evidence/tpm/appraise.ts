/**
 * Are authentic TPM quotes acceptable? All that the policy finds wrong; what it does not name has its strict default.
 */
import type { Finding } from '../../base/errors.ts'
import { hashAlgorithm } from '../../formats/tpm2/hash-algorithms.ts'
import type { AppraisalContext } from '../appraisal.ts'
import { atMost, bound, closest, hexOf, nonceGiven, oneOf, policySilent } from '../checks.ts'
import { finding } from '../finding.ts'
import type { PcrBank as BankName } from '../policy/predictions.ts'
import type { ResolvedTpmPolicy } from '../policy/resolve.ts'
import type { PcrBank, VerifiedQuote } from './quote.ts'
import type { VerifiedTpmQuotes } from './verified.ts'

/**
 * Every finding over all quotes of one AK (TPM 2.0 Part 2, TPMS_ATTEST), none where they are acceptable. Never throws.
 */
export function appraiseTpmQuotes(
  { quotes, pcrs, akId, akChain }: VerifiedTpmQuotes,
  context: AppraisalContext,
): readonly Finding[] {
  const { tpm } = context.policy
  if (tpm === undefined) return [policySilent('TPM quotes', 'tpm')]
  return [
    ...bankFindings(quotes, tpm),
    ...oneOf({ code: 'ak', field: 'the AK' }, akId, tpm.aks),
    ...revocationFindings(akChain, context),
    ...consistencyFindings(quotes),
    ...once(quotes.flatMap((quote) => quoteFindings(quote, { ...context, tpm }))),
    ...pcrFindings(pcrs, tpm),
    ...predictionFindings(pcrs, tpm),
    ...nonceGiven(context),
  ]
}

/**
 * Banks whose PCRs count where a policy names none: all but SHA-1, whose collisions are had for money. TCG Algorithm
 * Registry 1.34, table 3.
 */
export const DEFAULT_BANKS: readonly BankName[] = ['sha256', 'sha384', 'sha512']

/** One bank that counts is enough: what a weak one says besides is not looked at unless the policy names it. */
function bankFindings(
  quotes: readonly VerifiedQuote[],
  { banks = DEFAULT_BANKS }: ResolvedTpmPolicy,
): readonly Finding[] {
  const quoted = quotes
    .flatMap(({ quote }) => quote.selections)
    .filter(({ pcrs }) => pcrs.length > 0)
    .map(({ algorithm }) => hashAlgorithm(algorithm)?.name ?? `0x${algorithm.toString(16)}`)
  if (quoted.some((bank) => (banks as readonly string[]).includes(bank))) return []
  return [
    finding('bank', 'no PCR of a bank that the policy accepts was quoted', {
      expected: `one of ${banks.join(', ')}`,
      got: quoted.join(', ') || 'no PCR at all',
    }),
  ]
}

/** Without lists nobody knows whether the AK's authority took its word back. */
function revocationFindings(
  chain: VerifiedTpmQuotes['akChain'],
  { policy }: Pick<AppraisalContext, 'policy'>,
): readonly Finding[] {
  if (policy.revocation !== 'required' || chain === undefined) return []
  const { path, revocationChecked } = chain
  if (revocationChecked === path.length) return []
  return [
    finding('revocation-unchecked', "the revocation of the AK's certificates was not checked", {
      expected: `revocation lists for ${path.length} certificates`,
      got: `for ${revocationChecked}`,
    }),
  ]
}

/**
 * Quotes that are given together are to be of one TPM in one boot, answering one nonce, and agree on every PCR: else
 * each tells of another state. The clock goes on between them, so it may differ.
 */
function consistencyFindings(quotes: readonly VerifiedQuote[]): readonly Finding[] {
  return Object.entries(SHARED)
    .flatMap(([field, read]) => {
      const values = [...new Set(quotes.map(read))]
      return values.length < 2 ? [] : [inconsistent(field, values)]
    })
    .concat(registerConflicts(quotes))
}

const SHARED: Readonly<Record<string, (quote: VerifiedQuote) => string>> = {
  resetCount: ({ clockInfo }) => `${clockInfo.resetCount}`,
  restartCount: ({ clockInfo }) => `${clockInfo.restartCount}`,
  firmwareVersion: ({ firmwareVersion }) => `0x${firmwareVersion.toString(16)}`,
  extraData: ({ nonce }) => hexOf(nonce) || 'none',
  qualifiedSigner: ({ qualifiedSigner }) => hexOf(qualifiedSigner),
}

function registerConflicts(quotes: readonly VerifiedQuote[]): readonly Finding[] {
  const first = new Map<string, string>()
  return quotes
    .flatMap(({ pcrs }) =>
      pcrs.flatMap(({ bank, values }) =>
        [...values].map(([index, value]) => [`PCR ${index} (${bank})`, hexOf(value)] as const),
      ),
    )
    .flatMap(([name, value]) => {
      const before = first.get(name)
      first.set(name, before ?? value)
      return before === undefined || before === value ? [] : [inconsistent(name, [before, value])]
    })
}

function inconsistent(field: string, values: readonly string[]): Finding {
  return finding('quotes-inconsistent', `the quotes differ in ${field}: they are not of one state`, {
    expected: 'the same in every quote',
    got: values.join(' and '),
  })
}

/** Several quotes of one guest mostly share what is wrong with them. */
function once(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((each) => [JSON.stringify(each), each])).values()]
}

function quoteFindings(
  { clockInfo, firmwareVersion, nonce: extraData }: VerifiedQuote,
  { tpm, nonce }: AppraisalContext & { readonly tpm: ResolvedTpmPolicy },
): readonly Finding[] {
  const firmware = firmwareVersion.toString(16).padStart(16, '0')
  return [
    // Without a rule of the policy the nonce itself is required, and verification has compared it.
    ...(tpm.extraData === undefined
      ? []
      : bound({ field: 'extraData', got: extraData, binding: tpm.extraData, nonce, fill: 'none' })),
    ...(tpm.clockSafe === 'required' && !clockInfo.safe
      ? [
          finding('clock', 'the TPM says that its clock may have been set back', {
            expected: 'safe',
            got: 'not safe',
          }),
        ]
      : []),
    ...atMost({ code: 'reset-count', field: 'resetCount' }, clockInfo.resetCount, tpm.maximumResetCount),
    ...oneOf({ code: 'firmware', field: "the TPM's firmware version" }, firmware, tpm.firmwareVersions),
  ]
}

/** One of the predicted boots, whole; what is wrong is told of the one that comes closest. */
function predictionFindings(
  banks: readonly PcrBank[],
  { predictions }: ResolvedTpmPolicy,
): readonly Finding[] {
  return closest(
    predictions?.map((boot) => {
      const inLists = Object.entries(boot).map(([bank, values = {}]) => {
        const lists = Object.entries(values).map(([index, value]) => [index, [value]])
        return [bank, Object.fromEntries(lists)]
      })
      return pcrFindings(banks, { pcrs: Object.fromEntries(inLists) })
    }),
  )
}

/** Values that no signed digest covers are not in `banks`, so they count as missing. */
function pcrFindings(banks: readonly PcrBank[], { pcrs = {} }: ResolvedTpmPolicy): readonly Finding[] {
  return Object.entries(pcrs).flatMap(([bank, required]) =>
    Object.entries(required ?? {}).flatMap(([index, allowed]) => {
      const of = banks.filter((each) => each.bank === bank)
      const value = of.map(({ values }) => values.get(Number(index))).find((each) => each !== undefined)
      if (value !== undefined)
        return oneOf({ code: 'pcr', field: `PCR ${index} (${bank})` }, hexOf(value), allowed)
      return [
        finding('pcr-not-quoted', `PCR ${index} (${bank}) is not among the values that were quoted`, {
          expected: allowed.join(' or '),
          got: 'nothing',
        }),
      ]
    }),
  )
}
