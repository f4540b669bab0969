/** What became of a point of the matrix since another run. */
import type { ClaimResult, ScenarioResult } from '../../run/events.ts'
import type { RowChange } from './data.ts'

/** Times differ by chance: only so much, and so long, is worth a word. */
const FACTOR = 1.5
const LEAST_SECONDS = 5

/** Says of a result what changed since `before`. */
export function compareResults(before: readonly ScenarioResult[]): (result: ScenarioResult) => RowChange {
  const known = new Map(before.map((result) => [pointOf(result), result]))
  return (result) => {
    const old = known.get(pointOf(result))
    if (!old) return { kind: isWrong(result) ? 'new-failure' : 'new' }
    return { kind: kindOf(old, result), outcome: old.outcome, seconds: old.seconds }
  }
}

/** The same scenario on the same variant, and the same turn of it. */
export function pointOf({ scenario, variant, repetition = 1 }: ScenarioResult): string {
  const { platform, emulatedOn = '', vtpm, firmware, image, qemu, vcpus, memoryMiB } = variant
  return JSON.stringify([
    scenario,
    platform,
    emulatedOn,
    vtpm,
    firmware,
    image,
    qemu,
    vcpus,
    memoryMiB,
    repetition,
  ])
}

function isWrong({ outcome }: ScenarioResult): boolean {
  return outcome === 'fail' || outcome === 'error'
}

function kindOf(old: ScenarioResult, now: ScenarioResult): RowChange['kind'] {
  if (isWrong(now)) return isKnown(old, now) ? 'still-failing' : 'new-failure'
  if (now.outcome === 'pass' && provesLess(old, now)) return 'weaker'
  if (isWrong(old) && now.outcome === 'pass') return 'fixed'
  if (old.outcome !== now.outcome) return 'other'
  const longer = Math.max(now.seconds, old.seconds)
  const difference = now.seconds - old.seconds
  if (Math.abs(difference) < LEAST_SECONDS || longer < FACTOR * (longer - Math.abs(difference))) return 'same'
  return difference > 0 ? 'slower' : 'faster'
}

/** Whether it went wrong in the same way before: a claim that is false since then is news, also behind an old error. */
function isKnown(old: ScenarioResult, now: ScenarioResult): boolean {
  const before = falseClaims(old)
  return old.outcome === now.outcome && falseClaims(now).every((id) => before.includes(id))
}

function falseClaims({ claims }: ScenarioResult): readonly string[] {
  return claims.flatMap(({ id, outcome }) => (outcome === 'fail' ? [id] : []))
}

/** Strongest first. */
const BASES: readonly ClaimResult['basis'][] = ['hardware', 'rehearsed', 'emulated', 'predicted']

/** Whether a claim that was decided before is not decided any more, or by weaker evidence. */
function provesLess(old: ScenarioResult, now: ScenarioResult): boolean {
  const decided = new Map(now.claims.map((claim) => [claim.id, claim]))
  return old.claims.some((before) => {
    if (before.outcome === 'skip') return false
    const claim = decided.get(before.id)
    return (
      claim === undefined ||
      claim.outcome === 'skip' ||
      BASES.indexOf(claim.basis) > BASES.indexOf(before.basis)
    )
  })
}
