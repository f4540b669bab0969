/** The comparisons that appraisals are made of. Each gives its findings, none where the evidence is as required. */
import { digest } from '../base/digest.ts'
import type { Finding } from '../base/errors.ts'
import type { AppraisalContext } from './appraisal.ts'
import { type FindingCode, finding } from './finding.ts'
import type { ResolvedBinding } from './policy/resolve.ts'

/** Hex of a field, as findings and policies spell it. Lower case, two digits a byte. Never throws. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

interface About {
  readonly code: FindingCode
  /** The field by the name that its specification gives it. */
  readonly field: string
}

/**
 * `got` is one of `allowed`; without `allowed` anything is. At most one finding, with the values in its `expected`.
 * Never throws.
 */
export function oneOf<Value extends string | number>(
  { code, field }: About,
  got: Value,
  allowed: readonly Value[] | undefined,
): readonly Finding[] {
  if (allowed === undefined || allowed.includes(got)) return []
  const expected = allowed.length === 1 ? `${allowed[0]}` : `one of ${allowed.join(', ')}`
  return [finding(code, `${field} is not what the policy accepts`, { expected, got: `${got}` })]
}

/**
 * `got` is at least `minimum`; without `minimum` anything is. Numbers as they stand in the field, compared as unsigned;
 * at most one finding. Never throws.
 */
export function atLeast<Value extends number | bigint>(
  { code, field }: About,
  got: Value,
  minimum: Value | undefined,
): readonly Finding[] {
  if (minimum === undefined || got >= minimum) return []
  return [finding(code, `${field} is below the minimum`, { expected: `at least ${minimum}`, got: `${got}` })]
}

/** `got` is at most `maximum`; without `maximum` anything is. At most one finding. Never throws. */
export function atMost({ code, field }: About, got: number, maximum: number | undefined): readonly Finding[] {
  if (maximum === undefined || got <= maximum) return []
  return [finding(code, `${field} is above the maximum`, { expected: `at most ${maximum}`, got: `${got}` })]
}

/** A single bit by its name; `rule` undefined accepts both states. At most one finding. Never throws. */
export function bitAsRequired(
  { code, field }: About,
  isSet: boolean,
  rule: 'required' | 'forbidden' | 'allowed' | undefined,
): readonly Finding[] {
  if (rule === 'required' && !isSet)
    return [finding(code, `${field} is not set, the policy requires it`, { expected: 'set', got: 'clear' })]
  if (rule === 'forbidden' && isSet)
    return [finding(code, `${field} is set, the policy forbids it`, { expected: 'clear', got: 'set' })]
  return []
}

/**
 * Every bit of the hex `mask` (big-endian) is set in `got`. `got` has at most 64 bits; at most one finding. Never
 * throws.
 */
export function hasBits({ code, field }: About, got: bigint, mask: string | undefined): readonly Finding[] {
  if (mask === undefined) return []
  const required = BigInt(`0x${mask}`)
  if ((got & required) === required) return []
  return [
    finding(code, `${field} lacks bits that the policy requires`, {
      expected: `all bits of 0x${required.toString(16)}`,
      got: `0x${got.toString(16)}`,
    }),
  ]
}

interface Bound {
  readonly field: string
  readonly got: Uint8Array
  /** Whether what is shorter than the field is filled up with zeros (default), as in fields of a fixed length. */
  readonly fill?: 'zeros' | 'none'
  readonly binding: ResolvedBinding | undefined
  readonly nonce: Uint8Array | undefined
}

/**
 * The field holds what the policy says, or else the nonce; without either anything is accepted. A nonce that the
 * policy's binding leaves out would prove nothing, so that is a finding of its own. At most two findings:
 * `report-data`, `nonce-missing`. Never throws. The nonce has 1 to 64 bytes. REPORT_DATA: AMD 56860, table 23, and
 * Intel TDX module ABI, TDREPORT; extraData: TPM 2.0 Part 2, TPMS_ATTEST.
 */
export function bound({ field, got, binding, nonce, fill = 'zeros' }: Bound): readonly Finding[] {
  const required = binding === undefined ? nonce : boundValue(binding, nonce)
  if (required === undefined) return binding === undefined ? [] : [nonceMissing(field)]
  const expected = hexOf(required).padEnd(fill === 'zeros' ? got.length * 2 : 0, '0')
  const actual = hexOf(got)
  return [
    ...(expected === actual
      ? []
      : [finding('report-data', `${field} is not bound to what was expected`, { expected, got: actual })]),
    ...(nonce === undefined || binding === undefined || coversNonce(binding, nonce)
      ? []
      : [nonceUnused(field, nonce)]),
  ]
}

function nonceMissing(field: string): Finding {
  return finding('nonce-missing', `${field} is to be a digest over the nonce, and no nonce was given`, {
    expected: 'a nonce',
    got: 'none',
  })
}

function nonceUnused(field: string, nonce: Uint8Array): Finding {
  return finding('nonce-missing', `what the policy requires of ${field} does not cover the nonce`, {
    expected: `the nonce ${hexOf(nonce)}, or a digest over it`,
    got: 'a binding without it',
  })
}

function coversNonce(binding: ResolvedBinding, nonce: Uint8Array): boolean {
  return binding.value === hexOf(nonce) || partsOf(binding).some((part) => part === 'nonce')
}

const ALGORITHMS = ['sha256', 'sha384', 'sha512'] as const
type Part = NonNullable<ResolvedBinding['sha256']>[number]

function partsOf(binding: ResolvedBinding): readonly Part[] {
  return ALGORITHMS.flatMap((algorithm) => binding[algorithm] ?? [])
}

/** Undefined where the nonce is needed and missing. */
function boundValue(binding: ResolvedBinding, nonce: Uint8Array | undefined): Uint8Array | undefined {
  if (binding.value !== undefined) return Buffer.from(binding.value, 'hex')
  const algorithm = ALGORITHMS.find((name) => binding[name] !== undefined)
  if (algorithm === undefined || (nonce === undefined && partsOf(binding).includes('nonce'))) return undefined
  const bytes = partsOf(binding).map((part) =>
    part === 'nonce' ? (nonce ?? new Uint8Array()) : Buffer.from(part.hex, 'hex'),
  )
  return digest(algorithm, ...bytes)
}

/**
 * Of alternatives, each with what is wrong by it, the findings of the one that fits best; none without alternatives.
 * Never throws.
 */
export function closest(alternatives: readonly (readonly Finding[])[] | undefined): readonly Finding[] {
  return alternatives?.toSorted((left, right) => left.length - right.length)[0] ?? []
}

/**
 * A policy without a section for this kind of evidence accepts none of it. One finding `policy-silent`. Never throws.
 */
export function policySilent(what: string, section: string): Finding {
  return finding('policy-silent', `the policy says nothing about ${what}`, {
    expected: `a section ${section} in the policy`,
    got: 'none',
  })
}

/**
 * For evidence that was to be fresh and was checked without a nonce. At most one finding `nonce-missing`. That the
 * evidence answers it is for each kind to check. Never throws.
 */
export function nonceGiven({
  policy,
  nonce,
}: Pick<AppraisalContext, 'policy' | 'nonce'>): readonly Finding[] {
  if (policy.freshness?.nonce !== 'required' || nonce !== undefined) return []
  return [
    finding('nonce-missing', 'the policy requires a nonce, and none was given', {
      expected: 'a nonce that the evidence is bound to',
      got: 'none',
    }),
  ]
}

/**
 * The policy without the rule that only what answers a nonce can keep: for evidence that is bound to it otherwise.
 * Never throws.
 */
export function withoutNonceRule(policy: AppraisalContext['policy']): AppraisalContext['policy'] {
  const { freshness, ...rest } = policy
  return freshness === undefined ? rest : { ...rest, freshness: { ...freshness, nonce: 'optional' } }
}

const DAY = 86_400_000

/**
 * `issued`: thisUpdate of lists (RFC 5280, 5.1.2.4), issueDate of Intel PCS API v4; undefined: nothing was issued that
 * could be too old. At most one finding `collateral-too-old`; the limit is in days of 24 hours, its end included. Never
 * throws.
 */
export function recentEnough(
  issued: Date | undefined,
  { policy, at }: Pick<AppraisalContext, 'policy' | 'at'>,
): readonly Finding[] {
  const days = policy.freshness?.collateralDays
  if (days === undefined || issued === undefined) return []
  const oldest = new Date(at.getTime() - days * DAY)
  if (issued >= oldest) return []
  return [
    finding('collateral-too-old', `the collateral was issued more than ${days} days before the check`, {
      expected: `issued at ${oldest.toISOString()} or later`,
      got: issued.toISOString(),
    }),
  ]
}

/**
 * A root that is no vendor's is accepted only where the policy names its key; `keyId` is SHA-256 of its
 * SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) in lower-case hex. At most one finding `simulated-root`. Never throws.
 */
export function rootAccepted(
  {
    simulated,
    keyId,
    label,
  }: { readonly simulated: boolean; readonly keyId: string; readonly label: string },
  { policy }: Pick<AppraisalContext, 'policy'>,
): readonly Finding[] {
  if (!simulated || policy.simulatedRoots?.includes(keyId)) return []
  return [
    finding('simulated-root', `what vouches for the evidence is "${label}", which is no vendor's root`, {
      expected: "a vendor's root, or one that the policy names under simulatedRoots",
      got: keyId,
    }),
  ]
}
