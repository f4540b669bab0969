/**
 * Evidence from bytes to a verdict: decode, verify, appraise, in this order, the same for every kind. What a caller
 * gets is data; nothing about the evidence is thrown.
 */
import { type Finding, FormatError, VerifyError } from '../base/errors.ts'
import type { EvidenceKind } from './kind.ts'
import type { EvidencePage } from './page.ts'

/** What JSON can hold. Bytes are lower-case hex; 64-bit numbers are hex with 0x. */
export type FieldValue = string | number | boolean | null | readonly FieldValue[] | Fields
/** A JSON object. */
export interface Fields {
  readonly [name: string]: FieldValue
}

/** What bytes say, for tools and for people. */
export interface Decoded {
  /** By the names of the vendor's headers, in lower case: `report_data`, `mr_td`. Believed only where authentic. */
  readonly fields: Fields
  readonly page: EvidencePage
}

/** What came of one piece of evidence. */
export interface Examination extends Decoded {
  readonly kind: EvidenceKind
  /** Malformed evidence is not authentic either. */
  readonly authentic: boolean
  /** Never where it is not authentic. */
  readonly acceptable: boolean
  /** Where not authentic: the one break. Else everything that the policy does not accept. */
  readonly findings: readonly Finding[]
}

/** The steps of a kind; `Parsed` has not been verified, `Verified` was. */
export interface Steps<Parsed, Verified> {
  readonly kind: EvidenceKind
  /** May throw FormatError. */
  readonly parse: () => Parsed
  /** May throw VerifyError, and FormatError where an endorsement is malformed. */
  readonly verify: (parsed: Parsed) => Verified
  /** The same where a part of it can be done in another thread; rejects with what `verify` throws. */
  readonly verifyAside?: (parsed: Parsed) => Promise<Verified>
  readonly appraise: (verified: Verified) => readonly Finding[]
  /** Without `verified` only what the bytes say of themselves. */
  readonly describe: (parsed: Parsed, verified?: Verified) => Decoded
}

/** Without a verdict. Throws FormatError. */
export function decode<Parsed, Verified>(steps: Steps<Parsed, Verified>): Decoded {
  return steps.describe(steps.parse())
}

/** With one. Throws only what is our bug. */
export function examine<Parsed, Verified>(steps: Steps<Parsed, Verified>): Examination {
  const parsed = attempt(steps.parse)
  if (parsed.finding) return malformed(steps, parsed.finding)
  const { value } = parsed
  return concluded(
    steps,
    value,
    attempt(() => steps.verify(value)),
  )
}

/** The same, its longest step in another thread where the kind has such a one. Throws only what is our bug. */
export async function examineAside<Parsed, Verified>(steps: Steps<Parsed, Verified>): Promise<Examination> {
  const { verifyAside } = steps
  if (verifyAside === undefined) return examine(steps)
  const parsed = attempt(steps.parse)
  if (parsed.finding) return malformed(steps, parsed.finding)
  const { value } = parsed
  const verified = await verifyAside(value).then(
    (result): Attempt<Verified> => ({ value: result }),
    (error: unknown): Attempt<Verified> => ({ finding: findingOf(error) }),
  )
  return concluded(steps, value, verified)
}

function malformed({ kind }: { readonly kind: EvidenceKind }, finding: Finding): Examination {
  return { kind, ...NOTHING_DECODED, ...rejected(finding) }
}

function concluded<Parsed, Verified>(
  steps: Steps<Parsed, Verified>,
  parsed: Parsed,
  verified: Attempt<Verified>,
): Examination {
  const { kind } = steps
  if (verified.finding) return { kind, ...steps.describe(parsed), ...rejected(verified.finding) }
  const findings = steps.appraise(verified.value)
  return {
    kind,
    ...steps.describe(parsed, verified.value),
    authentic: true,
    acceptable: findings.length === 0,
    findings,
  }
}

const NOTHING_DECODED: Decoded = {
  fields: {},
  page: { title: 'malformed evidence', says: [], vouchedBy: [] },
}

function rejected(finding: Finding): Pick<Examination, 'authentic' | 'acceptable' | 'findings'> {
  return { authentic: false, acceptable: false, findings: [finding] }
}

type Attempt<Value> = { readonly value: Value; readonly finding?: undefined } | { readonly finding: Finding }

function attempt<Value>(step: () => Value): Attempt<Value> {
  try {
    return { value: step() }
  } catch (error) {
    return { finding: findingOf(error) }
  }
}

/**
 * What broke, as a finding with the hint of the error; anything that does not speak of the evidence is our bug and thrown on. Throws `error` again
 * where it is no VerifyError and no FormatError.
 */
export function findingOf(error: unknown): Finding {
  if (error instanceof VerifyError) {
    const { code, message, expected, got, hint } = error
    return { code, message, expected, got, ...(hint !== undefined && { hint }) }
  }
  if (error instanceof FormatError) {
    const { code, message, field, offset, hint } = error
    return {
      ...{ code, message },
      expected: `a well-formed ${field}`,
      got: `malformed at offset 0x${offset.toString(16)}`,
      ...(hint !== undefined && { hint }),
    }
  }
  throw error
}
