/** Registers from events: TPM 2.0 Library, part 1, 11.4.7 (PCR extend). */
import { DIGEST_LENGTHS, type DigestAlgorithm, digest } from '../../base/digest.ts'
import { eventDigest, type PredictedEvent } from './event.ts'

export type RegisterPrediction =
  | { readonly index: number; readonly known: true; readonly value: Buffer }
  /** At least one event cannot be predicted; `reasons` has each one's, once. */
  | { readonly index: number; readonly known: false; readonly reasons: readonly string[] }

/** The value of a register that starts as zeros after `events`, which are all its own. */
export function foldEvents(
  index: number,
  events: readonly PredictedEvent[],
  algorithm: DigestAlgorithm,
): RegisterPrediction {
  const reasons = [...new Set(events.flatMap(({ content }) => (content.known ? [] : [content.reason])))]
  if (reasons.length > 0) return { index, known: false, reasons }
  let value: Buffer = Buffer.alloc(DIGEST_LENGTHS[algorithm])
  for (const event of events) {
    const extended = eventDigest(event, algorithm)
    if (extended !== undefined) value = digest(algorithm, value, extended)
  }
  return { index, known: true, value }
}

/** Registers 0 to 15 of a bank: those that nothing is extended into stay zero. */
export function foldRegisters(
  events: readonly PredictedEvent[],
  algorithm: DigestAlgorithm,
): readonly RegisterPrediction[] {
  return Array.from({ length: 16 }, (_, index) =>
    foldEvents(
      index,
      events.filter(({ pcr }) => pcr === index),
      algorithm,
    ),
  )
}
