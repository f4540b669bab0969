/** Is an authentic TPM quote acceptable? All that the policy finds wrong; what it does not name has its strict default. */
import type { Finding } from '../../base/errors.ts'
import { hashAlgorithm } from '../../formats/tpm2/hash-algorithms.ts'
import type { AppraisalContext } from '../appraisal.ts'
import { atMost, bound, hexOf, nonceGiven, oneOf, policySilent } from '../checks.ts'
import { finding } from '../finding.ts'
import type { PcrBank as BankName } from '../policy/measured-boot.ts'
import type { ResolvedTpmPolicy } from '../policy/resolve.ts'
import type { PcrBank, VerifiedQuote } from './quote.ts'

export interface QuotedByKey {
  readonly quote: VerifiedQuote
  /** SHA-256 of the AK's SubjectPublicKeyInfo, hex. */
  readonly akId: string
}

/** Every finding over all quotes of one AK, none where they are acceptable. */
export function appraiseTpmQuotes(
  quotes: readonly QuotedByKey[],
  context: AppraisalContext,
): readonly Finding[] {
  const { tpm } = context.policy
  if (tpm === undefined) return [policySilent('TPM quotes', 'tpm')]
  const values = quotes.flatMap(({ quote }) => quote.pcrs)
  return [
    ...new Map(
      quotes.flatMap((each) => quoteFindings(each, { ...context, tpm })).map((each) => [key(each), each]),
    ).values(),
    ...pcrFindings(values, tpm),
    ...nonceGiven(context),
  ]
}

/** Several quotes of one guest mostly share what is wrong with them. */
const key = ({ code, message, got }: Finding): string => JSON.stringify([code, message, got])

const DEFAULT_BANKS: readonly BankName[] = ['sha256', 'sha384', 'sha512']

function quoteFindings(
  { quote, akId }: QuotedByKey,
  { tpm, nonce }: AppraisalContext & { readonly tpm: ResolvedTpmPolicy },
): readonly Finding[] {
  const { clockInfo, firmwareVersion } = quote
  const banks = quote.quote.selections
    .filter(({ pcrs }) => pcrs.length > 0)
    .map(({ algorithm }) => hashAlgorithm(algorithm)?.name ?? `0x${algorithm.toString(16)}`)
  const firmware = firmwareVersion.toString(16).padStart(16, '0')
  return [
    ...banks.flatMap((bank) =>
      oneOf<string>({ code: 'bank', field: 'a quoted bank' }, bank, tpm.banks ?? DEFAULT_BANKS),
    ),
    ...oneOf({ code: 'ak', field: 'the AK' }, akId, tpm.aks),
    // Without a rule of the policy the nonce itself is required, and verification has compared it.
    ...(tpm.extraData === undefined
      ? []
      : bound({ field: 'extraData', got: quote.nonce, binding: tpm.extraData, nonce, fill: 'none' })),
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

/** Values that no signed digest covers are not in `banks`, so they count as missing. */
function pcrFindings(banks: readonly PcrBank[], { pcrs = {} }: ResolvedTpmPolicy): readonly Finding[] {
  return Object.entries(pcrs).flatMap(([bank, required]) =>
    Object.entries(required ?? {}).flatMap(([index, allowed]) => {
      const value = banks
        .find((each) => each.bank === bank && each.values.has(Number(index)))
        ?.values.get(Number(index))
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
