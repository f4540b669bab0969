/**
 * What a guest can do to its log without breaking the replay: nothing but the digests and their order within a register
 * is measured, so types, data and the place among other registers' events are its own to write.
 */
import type { LogEvent } from '../../../formats/event-log/event.ts'
import { EV } from '../../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../../formats/event-log/parse.ts'
import type { Random } from './random.ts'

/** But for what speaks of a register's beginning: an H-CRTM event seeds PCR 0. */
const TYPES: readonly number[] = [...Object.values(EV), 0x9999].filter((type) => type !== EV.EFI_HCRTM_EVENT)

type Event = Pick<LogEvent, 'register' | 'type' | 'digests' | 'data'>
/** `words`: events whose data a liar would like to show: the log's own, and those of the boot that a policy wants. */
type Change = (events: readonly Event[], random: Random, words: readonly Event[]) => readonly Event[]

/**
 * One to four changes to a crypto-agile log that leave every register as it was; its events may be given the data of
 * `model`, too, another log. Throws FormatError for another input.
 */
export function relabel(log: Uint8Array, random: Random, model?: Uint8Array): Buffer {
  const { events } = parseEventLog(log)
  const wanted = model ? parseEventLog(model).events.slice(1) : []
  const [header, ...rest] = events
  const end = rest[0]?.offset ?? log.length
  let changed: readonly Event[] = rest
  const changes = header ? 1 + random.below(4) : 0
  for (let index = 0; index < changes && changed.length > 0; index++)
    changed = random.pick(CHANGES)(changed, random, [...changed, ...wanted])
  return Buffer.concat([log.subarray(0, end), ...changed.map(encode)])
}

const CHANGES: readonly Change[] = [retype, retype, redata, redata, both, exchange, move, addNote]

/** The same events with the one at `at` changed. */
function withAt(events: readonly Event[], at: number, change: Partial<Event>): readonly Event[] {
  return events.map((event, index) => (index === at ? { ...event, ...change } : event))
}

/** Both ways: what is extended and what is not stays as it is. */
function typeLike({ type }: Event, random: Random): number {
  if (type === EV.NO_ACTION) return type
  return random.pick(TYPES.filter((each) => each !== EV.NO_ACTION))
}

function retype(events: readonly Event[], random: Random): readonly Event[] {
  const at = random.below(events.length)
  const event = events[at]
  return event ? withAt(events, at, { type: typeLike(event, random) }) : events
}

/** Data of another event, a part of it, or none. */
function redata(events: readonly Event[], random: Random, words: readonly Event[]): readonly Event[] {
  const { data } = random.pick(words)
  const part = random.below(3) === 0 ? data.subarray(0, random.below(data.length + 1)) : data
  return withAt(events, random.below(events.length), {
    data: random.below(4) === 0 ? data.subarray(0, 0) : part,
  })
}

/** Dressed up as another event. */
function both(events: readonly Event[], random: Random, words: readonly Event[]): readonly Event[] {
  const { register, type, data } = random.pick(words.filter(({ type }) => type !== EV.NO_ACTION))
  // As often as not in the register where it means something.
  const there = events.flatMap((event, index) => (event.register === register ? [index] : []))
  const at = there.length > 0 && random.below(2) === 0 ? random.pick(there) : random.below(events.length)
  return events[at]?.type === EV.NO_ACTION ? events : withAt(events, at, { type, data })
}

/** Two events change clothes. */
function exchange(events: readonly Event[], random: Random): readonly Event[] {
  const [one, two] = [random.below(events.length), random.below(events.length)]
  const [first, second] = [events[one], events[two]]
  if (!first || !second || first.type === EV.NO_ACTION || second.type === EV.NO_ACTION) return events
  const dressed = withAt(events, one, { type: second.type, data: second.data })
  return withAt(dressed, two, { type: first.type, data: first.data })
}

/** Past events of other registers only. */
function move(events: readonly Event[], random: Random): readonly Event[] {
  const at = random.below(events.length)
  const event = events[at]
  if (!event) return events
  const rest = events.filter((_, index) => index !== at)
  const before = rest.slice(0, at).findLastIndex(({ register }) => register === event.register)
  const after = rest.slice(at).findIndex(({ register }) => register === event.register)
  const last = after < 0 ? rest.length : at + after
  const to = before + 1 + random.below(last - before)
  return [...rest.slice(0, to), event, ...rest.slice(to)]
}

/** EV_NO_ACTION extends nothing, whatever it says. */
function addNote(events: readonly Event[], random: Random): readonly Event[] {
  const { digests, data } = random.pick(events)
  const at = random.below(events.length + 1)
  // Any register but the first: there a note may speak of the locality that the register starts from.
  const note: Event = { register: 1 + random.below(14), type: EV.NO_ACTION, digests, data }
  return [...events.slice(0, at), note, ...events.slice(at)]
}

/** TCG_PCR_EVENT2. */
function encode({ register, type, digests, data }: Event): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt32LE(register, 0)
  head.writeUInt32LE(type, 4)
  head.writeUInt32LE(digests.length, 8)
  const size = Buffer.alloc(4)
  size.writeUInt32LE(data.length)
  const values = digests.flatMap(({ algorithm, bytes }) => {
    const id = Buffer.alloc(2)
    id.writeUInt16LE(algorithm)
    return [id, bytes]
  })
  return Buffer.concat([head, ...values, size, data])
}
