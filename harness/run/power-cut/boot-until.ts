/** Boots one state after the other, and knows what a budget that runs out leaves to be said. */
import { TimeoutError } from '../../base/errors.ts'

/**
 * What `boot` gives for each candidate, in order. Where `endsAt` (milliseconds since the epoch) comes first, or a boot ends
 * in TimeoutError `boot` (the host is too slow): those of before if one of them is down, for that proves what it proves.
 * Throws TimeoutError where all of them were up: that proves nothing of those that were not booted.
 */
export async function bootUntil<Candidate, Outcome extends { readonly came: 'up' | 'down' }>(
  endsAt: number,
  candidates: readonly Candidate[],
  boot: (candidate: Candidate, index: number) => Promise<Outcome>,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  const spent = Promise.withResolvers<never>()
  const words = () => `the budget was spent after ${outcomes.length} of ${candidates.length} states`
  const stop = () => spent.reject(new TimeoutError(words(), { code: 'scenario' }))
  const timer = setTimeout(stop, Math.min(Math.max(0, endsAt - Date.now()), LONGEST_TIMER_MS))
  // Nobody may be waiting for it.
  spent.promise.catch(() => {})
  try {
    for (const [index, candidate] of candidates.entries()) {
      const booting = boot(candidate, index)
      // Where it loses the race, its VM ends with the scenario.
      booting.catch(() => {})
      outcomes.push(await Promise.race([booting, spent.promise]))
    }
  } catch (error) {
    const isOver = error instanceof TimeoutError && (error.code === 'scenario' || error.code === 'boot')
    if (!isOver || outcomes.every(({ came }) => came === 'up')) throw error
  } finally {
    clearTimeout(timer)
  }
  return outcomes
}

/** Node fires at once what is further away. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
