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
  /** The reason in words, normalised; of an `error` its first line is compared. */
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
    .map(({ id, claim, expected, got }) => {
      // One numbering for both: whether a value that changes from run to run was the expected one stays visible.
      const same = normaliser()
      return { id, claim: normaliser()(claim), expected: same(expected), got: same(got) }
    })
    .sort((left, right) => (left.id < right.id ? -1 : 1))
  const errorCode = outcome === 'error' || outcome === 'skip' ? codeOf(result.reason) : undefined
  const lines = consoleTail.split(/\r?\n/).map((line) => normaliser()(line.trim()))
  const reason = normaliser()(result.reason)
  return {
    ...{ scenario, variant, outcome, falseClaims },
    ...(errorCode !== undefined && { errorCode }),
    reason,
    console: lines.filter((line) => line !== '').slice(-CONSOLE_LINES),
    digest: digestOf({ scenario, outcome, falseClaims, errorCode, reason }),
  }
}

export type Comparison = 'same failure' | 'another failure' | 'does not fail here' | 'not tried'

export interface DecidedClaim {
  readonly id: string
  readonly basis: string
  readonly outcome: string
}

export interface Attempts {
  /** Claims that were decided when the bundle was made, and here. */
  readonly there: readonly DecidedClaim[]
  readonly here: readonly DecidedClaim[]
  /** The attempt here ended with its first false claim: of those behind it nothing is known. */
  readonly stopsEarly?: boolean
}

/** Whether there is a failure that can be had again. */
export function isFailure({ outcome }: Pick<FailureSignature, 'outcome'>): boolean {
  return outcome === 'fail' || outcome === 'error'
}

/**
 * How what happened here compares with what a bundle says. An attempt that the infrastructure broke, that this host has
 * nothing for, or that decided the claim on other grounds, says nothing of a failure that was a false claim: `not tried`.
 */
export function compareSignatures(
  theirs: FailureSignature,
  here: FailureSignature,
  attempts?: Attempts,
): Comparison {
  if (here.outcome === 'skip') return 'not tried'
  if (here.outcome === 'pass') return isTried(theirs, attempts) ? 'does not fail here' : 'not tried'
  const decided = attempts?.stopsEarly ? new Set(attempts.here.map(({ id }) => id)) : undefined
  const falseClaims = theirs.falseClaims.filter(({ id }) => !decided || decided.has(id))
  if (isFailure(theirs) && digestOf({ ...theirs, falseClaims }) === digestOf(here)) return 'same failure'
  if (here.outcome === 'error' && theirs.outcome !== 'error') return 'not tried'
  return 'another failure'
}

/** Whether each claim that was false there holds here, by evidence of the same kind. */
function isTried({ falseClaims }: FailureSignature, attempts: Attempts | undefined): boolean {
  if (attempts === undefined) return true
  const { there, here } = attempts
  return falseClaims.every(({ id }) => {
    const basis = there.find((claim) => claim.id === id)?.basis
    const now = here.find((claim) => claim.id === id)
    return now?.outcome === 'pass' && (basis === undefined || now.basis === basis)
  })
}

/** Of the words that count; the digest that a bundle brings along is not believed. */
function digestOf({
  scenario,
  outcome,
  falseClaims,
  errorCode = '',
  reason,
}: Pick<FailureSignature, 'scenario' | 'outcome' | 'falseClaims' | 'reason'> & {
  readonly errorCode?: string | undefined
}): string {
  const claims = falseClaims.map(({ id, expected, got }) => [id, expected, got])
  const error = outcome === 'error' ? [errorCode, firstLine(reason)] : []
  return sha256Hex(Buffer.from(JSON.stringify([scenario, outcome, claims, error])))
}

/** Below it are stacks and consoles. Of a text that is normalised, in which a line feed is escaped. */
function firstLine(reason: string): string {
  return reason.split('\\x0a')[0] ?? ''
}

/** `code: message`, as results give their reason. */
function codeOf(reason: string): string {
  return /^[a-z][a-z0-9-]{1,40}(?=:)/.exec(reason)?.[0] ?? 'unknown'
}

/** A piece of a path; what was masked in it is stars. */
const PATH = /(?<![\w/.*-])\**(?:\/[\w.+@,=~*-]{1,255}){1,128}/g
const RUN = /\b\d{8}T\d{6}Z-[0-9a-f]{4}\b/g
/** Where one host keeps what another keeps elsewhere, or what is new each time: temporary files, homes, runs. */
const HOST_PLACE =
  /^\/(?:tmp|var\/tmp|dev\/shm|run\/user|home|Users|root)\/.|\*|\/\d{8}T\d{6}Z-[0-9a-f]{4}(?:\/|$)/

/** What differs from run to run though nothing else does. Linear in the length; longest first. */
const VOLATILE: readonly (readonly [RegExp, string])[] = [
  [/\*+/g, '<masked>'],
  [/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?/g, '<time>'],
  [RUN, '<run>'],
  [/^\[ *\d+\.\d+\]/g, '<since boot>'],
  [/\b\d+(\.\d+)? ?(ms|s|min|MB|MiB|KiB|GiB)\b/g, '<n> $2'],
]
/** Of these it counts which are the same: each is numbered in the order of its first place in a text. */
const NUMBERED: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, 'uuid'],
  [/\b(?:0x)?[0-9a-f]{16,}\b/gi, 'hex'],
  [/\b\d{5,}\b/g, 'n'],
]

/** For texts that belong together: each becomes one line that is safe to print. Short numbers stay: an exit code of 7 is not one of 8. */
function normaliser(): (text: string) => string {
  const numbers = new Map<string, Map<string, number>>()
  const token = (kind: string, value: string): string => {
    const known = numbers.get(kind) ?? new Map<string, number>()
    numbers.set(kind, known)
    const number = known.get(value.toLowerCase()) ?? known.size + 1
    known.set(value.toLowerCase(), number)
    return `<${kind} ${number}>`
  }
  return (text) => {
    const plain = escapeControls(text.slice(0, LONGEST))
    const placed = plain.replaceAll(PATH, (path) => (HOST_PLACE.test(path) ? token('path', path) : path))
    const words = VOLATILE.reduce((words, [pattern, name]) => words.replaceAll(pattern, name), placed)
    return NUMBERED.reduce(
      (words, [pattern, kind]) => words.replaceAll(pattern, (value) => token(kind, value)),
      words,
    )
  }
}
