/** What a failure was, in words that are the same when it happens again: elsewhere, later, with other random numbers. */
import { sha256Hex } from '../base/digest.ts'
import { escapeControls } from '../base/text.ts'
import type { ScenarioResult, Variant } from '../run/events.ts'

export interface FalseClaim {
  readonly id: string
  readonly claim: string
  /** Normalised, as `got` is. */
  readonly expected: string
  readonly got: string
}

export interface FailureSignature {
  readonly scenario: string
  readonly variant: Variant
  readonly outcome: ScenarioResult['outcome']
  /** In the order of their ids. */
  readonly falseClaims: readonly FalseClaim[]
  /** Of an `error`: the code that its reason begins with. */
  readonly errorCode?: string
  /** The reason in words, normalised: to be read, not to be compared. */
  readonly reason: string
  /** The last lines of the last console, normalised: to be read, not to be compared. */
  readonly console: readonly string[]
  /** SHA-256 over what is compared; hex. */
  readonly digest: string
}

const CONSOLE_LINES = 20
const LONGEST = 2000

/** `consoleTail`: what the last VM printed last; raw. */
export function signatureOf(result: ScenarioResult, consoleTail: string): FailureSignature {
  const { scenario, variant, outcome } = result
  const falseClaims = result.claims
    .filter((claim) => claim.outcome === 'fail')
    .map(({ id, claim, expected, got }) => ({
      ...{ id, claim },
      ...{ expected: normalise(expected), got: normalise(got) },
    }))
    .sort((left, right) => (left.id < right.id ? -1 : 1))
  const errorCode = outcome === 'error' || outcome === 'skip' ? codeOf(result.reason) : undefined
  const lines = consoleTail.split(/\r?\n/).map((line) => normalise(line.trim()))
  return {
    ...{ scenario, variant, outcome, falseClaims },
    ...(errorCode !== undefined && { errorCode }),
    reason: normalise(result.reason),
    console: lines.filter((line) => line !== '').slice(-CONSOLE_LINES),
    digest: digestOf({ scenario, outcome, falseClaims, errorCode }),
  }
}

export type Comparison = 'same failure' | 'another failure' | 'does not fail here' | 'not tried'

/**
 * How what happened here compares with what a bundle says. An attempt that the infrastructure broke, or that this host has
 * nothing for, says nothing of a failure that was a false claim: `not tried`.
 */
export function compareSignatures(theirs: FailureSignature, here: FailureSignature): Comparison {
  if (digestOf(theirs) === digestOf(here)) return 'same failure'
  if (here.outcome === 'pass') return 'does not fail here'
  if (here.outcome === 'skip') return 'not tried'
  if (here.outcome === 'error' && theirs.outcome !== 'error') return 'not tried'
  return 'another failure'
}

/** Of the words that count; the digest that a bundle brings along is not believed. */
function digestOf({
  scenario,
  outcome,
  falseClaims,
  errorCode = '',
}: Pick<FailureSignature, 'scenario' | 'outcome' | 'falseClaims'> & {
  readonly errorCode?: string | undefined
}): string {
  const claims = falseClaims.map(({ id, expected, got }) => [id, expected, got])
  return sha256Hex(Buffer.from(JSON.stringify([scenario, outcome, claims, errorCode])))
}

/** `code: message`, as results give their reason. */
function codeOf(reason: string): string {
  return /^[a-z][a-z0-9-]{1,40}(?=:)/.exec(reason)?.[0] ?? 'unknown'
}

/** What differs from run to run though nothing else does. Linear in the length; longest first. */
const VOLATILE: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, '<uuid>'],
  [/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?/g, '<time>'],
  [/\b\d{8}T\d{6}Z-[0-9a-f]{4}\b/g, '<run>'],
  [/^\[ *\d+\.\d+\]/g, '<since boot>'],
  [/\b(0x)?[0-9a-f]{16,}\b/gi, '<hex>'],
  [/(?<![\w/.-])(\/[\w.+@,=~-]{1,255}){2,}/g, '<path>'],
  [/\b\d+(\.\d+)? ?(ms|s|min|MB|MiB|KiB|GiB)\b/g, '<n> $2'],
  [/\b\d{5,}\b/g, '<n>'],
]

/** One line that is safe to print. Short numbers stay: an exit code of 7 is not one of 8. */
function normalise(text: string): string {
  const plain = escapeControls(text.slice(0, LONGEST))
  return VOLATILE.reduce((words, [pattern, name]) => words.replaceAll(pattern, name), plain)
}
