/**
 * Is an authentic TDX quote acceptable? All that the policy finds wrong; what it does not name has its strict default.
 */
import { sha256Hex } from '../../base/digest.ts'
import type { Finding } from '../../base/errors.ts'
import {
  decodeTdAttributes,
  isUnderDebug,
  type TdAttribute,
  type TdReport,
} from '../../formats/tdx/td-report.ts'
import type { AppraisalContext } from '../appraisal.ts'
import {
  atLeast,
  bitAsRequired,
  bound,
  closest,
  hasBits,
  hexOf,
  nonceGiven,
  oneOf,
  policySilent,
  recentEnough,
  rootAccepted,
} from '../checks.ts'
import { type FindingCode, finding } from '../finding.ts'
import type { ResolvedTdxPolicy } from '../policy/resolve.ts'
import type { VerifiedTdxQuote } from './verify.ts'

/** Every finding about a quote, none where it is acceptable; without a section `tdx`, `policy-silent`. Never throws. */
export function appraiseTdxQuote(verified: VerifiedTdxQuote, context: AppraisalContext): readonly Finding[] {
  const { policy, nonce } = context
  const { tdx } = policy
  if (tdx === undefined) return [policySilent('TDX quotes', 'tdx')]
  const { body, header } = verified.quote
  const { anchor, simulated } = verified.root
  return [
    ...rootAccepted({ simulated, keyId: sha256Hex(anchor.publicKey.raw), label: anchor.label }, context),
    ...oneOf({ code: 'quote-version', field: 'the version of the quote' }, header.version, tdx.quoteVersions),
    ...unchecked(verified, context, tdx),
    ...recentEnough(verified.collateralIssued, context),
    ...tcbFindings(verified, tdx),
    ...attributeFindings(body, tdx),
    ...registerFindings(body, tdx),
    ...ownerFindings(body, tdx),
    ...bound({ field: 'REPORTDATA', got: body.reportData, binding: tdx.reportData, nonce }),
    ...nonceGiven(context),
  ]
}

/** What verification left open: by default nothing may be open. */
function unchecked(
  { findings }: VerifiedTdxQuote,
  { policy }: AppraisalContext,
  { tcbStatuses }: ResolvedTdxPolicy,
): readonly Finding[] {
  const mayLack = [
    ...(policy.revocation === 'when-given' ? ['crl-missing'] : []),
    ...(tcbStatuses?.includes('Unknown') ? ['collateral-missing'] : []),
  ]
  return findings.filter(({ code }) => !mayLack.includes(code))
}

const DEFAULT_STATUSES = ['UpToDate'] as const

function tcbFindings(
  { tcb, pck, quote, evaluationDataNumber }: VerifiedTdxQuote,
  tdx: ResolvedTdxPolicy,
): readonly Finding[] {
  const { tcbStatuses = DEFAULT_STATUSES, advisories, minimumTcbEvaluationDataNumber } = tdx
  const wrong =
    advisories === undefined ? [] : (tcb?.advisoryIds ?? []).filter((id) => !advisories.includes(id))
  return [
    ...oneOf({ code: 'tcb-status', field: 'the TCB status' }, tcb?.status ?? 'Unknown', tcbStatuses),
    ...wrong.map((id) =>
      finding('advisory', `the advisory ${id} applies to the platform, and the policy does not accept it`, {
        expected: advisories?.length ? `only ${advisories.join(', ')}` : 'no advisory',
        got: id,
      }),
    ),
    ...atLeast(
      { code: 'tcb-evaluation-number', field: 'tcbEvaluationDataNumber of the collateral' },
      evaluationDataNumber ?? 0,
      minimumTcbEvaluationDataNumber,
    ),
    ...oneOf({ code: 'fmspc', field: 'FMSPC' }, hexOf(pck.fmspc), tdx.fmspcs),
    ...svnFindings(quote.body.teeTcbSvn, tdx.minimumTeeTcbSvn),
  ]
}

/** Component by component: there is no order among whole vectors. */
function svnFindings(got: Uint8Array, minimum: readonly number[] | undefined): readonly Finding[] {
  return (minimum ?? []).flatMap((least, index) =>
    atLeast({ code: 'tee-tcb-svn', field: `TEE_TCB_SVN[${index}]` }, got[index] ?? 0, least),
  )
}

const ATTRIBUTES: readonly TdAttribute[] = ['septVeDisable', 'migratable', 'pks', 'keyLocker', 'perfmon']

function attributeFindings({ tdAttributes, xfam }: TdReport, tdx: ResolvedTdxPolicy): readonly Finding[] {
  const rules = tdx.tdAttributes ?? {}
  const { names, reservedBits } = decodeTdAttributes(tdAttributes)
  return [
    ...bitAsRequired(
      { code: 'debug', field: 'TDATTRIBUTES.DEBUG (TD under debug)' },
      isUnderDebug(tdAttributes),
      rules.debug ?? 'forbidden',
    ),
    ...ATTRIBUTES.flatMap((name) =>
      bitAsRequired(
        { code: 'td-attributes', field: `TDATTRIBUTES, ${name}` },
        names.includes(name),
        rules[name as keyof typeof rules],
      ),
    ),
    ...reservedFindings(reservedBits),
    ...hasBits({ code: 'xfam', field: 'XFAM' }, xfam, tdx.xfam?.required),
    ...onlyBits(xfam, tdx.xfam?.allowed),
  ]
}

/** A bit that is not defined yet may be one that opens the TD: it is never accepted. */
function reservedFindings(bits: bigint): readonly Finding[] {
  if (bits === 0n) return []
  return [
    finding('td-attributes', 'TDATTRIBUTES has a reserved bit set', {
      expected: 'clear',
      got: `0x${bits.toString(16)}`,
    }),
  ]
}

function onlyBits(got: bigint, allowed: string | undefined): readonly Finding[] {
  if (allowed === undefined || (got & ~BigInt(`0x${allowed}`)) === 0n) return []
  return [
    finding('xfam', 'XFAM has bits that the policy does not allow', {
      expected: `no bit but 0x${allowed}`,
      got: `0x${got.toString(16)}`,
    }),
  ]
}

function registerFindings(body: TdReport, tdx: ResolvedTdxPolicy): readonly Finding[] {
  const rtmrs = [tdx.rtmr0, tdx.rtmr1, tdx.rtmr2, tdx.rtmr3]
  return [
    ...unresolved(tdx),
    ...oneOf({ code: 'mrtd', field: 'MRTD' }, hexOf(body.mrTd), tdx.mrtd),
    ...rtmrFindings(body, rtmrs),
    ...closest(tdx.predictions?.map((guest) => predictionFindings(body, guest))),
    ...oneOf({ code: 'mr-seam', field: 'MRSEAM' }, hexOf(body.mrSeam), tdx.mrSeam),
  ]
}

function rtmrFindings(
  { rtmrs }: TdReport,
  allowed: readonly (readonly string[] | undefined)[],
): readonly Finding[] {
  return rtmrs.flatMap((rtmr, index) =>
    oneOf({ code: 'rtmr', field: `RTMR${index}` }, hexOf(rtmr), allowed[index]),
  )
}

type TdPrediction = NonNullable<ResolvedTdxPolicy['predictions']>[number]

function predictionFindings(body: TdReport, guest: TdPrediction): readonly Finding[] {
  const only = (value: string | undefined) => (value === undefined ? undefined : [value])
  const { mrtd, rtmr0, rtmr1, rtmr2, rtmr3 } = guest
  return [
    ...oneOf({ code: 'mrtd', field: 'MRTD' }, hexOf(body.mrTd), only(mrtd)),
    ...rtmrFindings(body, [rtmr0, rtmr1, rtmr2, rtmr3].map(only)),
  ]
}

/** Never silently dropped: whoever predicts replaces `predicted` by values. */
function unresolved({ predicted }: ResolvedTdxPolicy): readonly Finding[] {
  if (predicted === undefined) return []
  return [
    finding('prediction-missing', 'the policy asks for what was predicted, and nothing was predicted', {
      expected: 'MRTD values computed from the materials',
      got: 'none',
    }),
  ]
}

const NO_SERVICE_TD = ['00'.repeat(48)]

function ownerFindings(body: TdReport, tdx: ResolvedTdxPolicy): readonly Finding[] {
  const { mrServiceTd = NO_SERVICE_TD } = tdx
  const check = (code: FindingCode, field: string, got: Uint8Array, allowed: readonly string[] | undefined) =>
    oneOf({ code, field }, hexOf(got), allowed)
  return [
    ...check('mr-config-id', 'MRCONFIGID', body.mrConfigId, tdx.mrConfigId),
    ...check('mr-owner', 'MROWNER', body.mrOwner, tdx.mrOwner),
    ...check('mr-owner-config', 'MROWNERCONFIG', body.mrOwnerConfig, tdx.mrOwnerConfig),
    // A quote of version 1.0 has no such field, and the module had no service TDs.
    ...(body.mrServiceTd ? check('service-td', 'MRSERVICETD', body.mrServiceTd, mrServiceTd) : []),
  ]
}
