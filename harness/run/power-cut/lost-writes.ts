/**
 * What a disk with a cache of its own can lose: of the writes to the ESP since it was last told to flush, any may be there
 * and any may not. Tried are each one alone missing, and each one alone there, when all of them had been sent. Writes to
 * other partitions are left in order: their file systems have journals for that.
 */
import { type CutState, clip, LossyReplay, type RecordedUpdate } from './states.ts'

/** Of one interval: so many writes are tried, at equal distances. */
const MOST_WRITES = 6

/** Those whose content is not among `known`. */
export function statesOfLostWrites(update: RecordedUpdate, known: readonly CutState[]): readonly CutState[] {
  const seen = new Set(known.map(({ content }) => content))
  const states: CutState[] = []
  const replay = new LossyReplay(update)
  for (const { begin, after, writes } of unflushed(update))
    for (const one of spread(writes))
      for (const lost of [[one], writes.filter((each) => each !== one)]) {
        if (lost.length === 0 || lost.length === writes.length) continue
        const state = replay.state({ begin, after, lost })
        if (seen.has(state.content)) continue
        seen.add(state.content)
        states.push(state)
      }
  return states
}

interface Interval {
  /** Events that had happened when the last flush came. */
  readonly begin: number
  /** Events that have happened when the next flush comes. */
  readonly after: number
  /** Numbers of the writes to the ESP since the last one. */
  readonly writes: readonly number[]
}

function unflushed({ events, esp }: RecordedUpdate): readonly Interval[] {
  const part = { offset: esp.offset, size: esp.bytes.length }
  const intervals: { begin: number; after: number; writes: number[] }[] = [
    { begin: 0, after: events.length, writes: [] },
  ]
  for (const [index, event] of events.entries()) {
    if (event.on !== 'disk') continue
    const current = intervals.at(-1)
    if (event.write.kind === 'flush') {
      if (current) current.after = index
      intervals.push({ begin: index, after: events.length, writes: [] })
    } else if (event.write.kind === 'write' && clip(event.write, part).data.length > 0)
      current?.writes.push(index + 1)
  }
  return intervals.filter(({ writes }) => writes.length > 1)
}

function spread(writes: readonly number[]): readonly number[] {
  const step = Math.max(1, writes.length / MOST_WRITES)
  const picked = Array.from({ length: Math.min(writes.length, MOST_WRITES) }, (_, index) =>
    Math.floor(index * step),
  )
  return picked.flatMap((index) => writes[index] ?? [])
}
