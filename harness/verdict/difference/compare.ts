/** What differs between two documents of measured things, in words: `attestbed diff`. */
import type { MeasuredDocument } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'
import { eventDifferences } from './events.ts'
import { inputDifferences } from './inputs.ts'
import { pageDifferences } from './pages.ts'
import { valueDifferences } from './values.ts'

/**
 * Everything that differs, inputs first, then what they changed, then the values that come of it. Empty: nothing in
 * what both documents say differs. A part that only one of them has (an event log has no pages) is not compared.
 */
export function differences(a: MeasuredDocument, b: MeasuredDocument): readonly Difference[] {
  const inputs = inputDifferences(a, b)
  const changed = new Set(inputs.flatMap(({ causes }) => causes))
  const events = eventDifferences(a, b, changed)
  return [
    ...inputs.map((input) => withEffect(input, events)),
    ...pageDifferences(a.pages, b.pages, changed),
    ...events,
    ...valueDifferences(a, b, changed),
  ]
}

/** QEMU 10.1 to 10.2 says nothing by itself: what of it is known to have mattered is said with it. */
function withEffect(input: Difference, events: readonly Difference[]): Difference {
  if (input.where !== 'input qemu') return input
  const effects = events.flatMap(({ where, because }) =>
    because === undefined ? [] : `${because}: ${where}`,
  )
  return effects.length === 0 ? input : { ...input, because: effects.join('; ') }
}
