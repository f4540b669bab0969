/** A predicted boot meets the log and the registers of a real one. */
import type { DigestAlgorithm } from '../base/digest.ts'
import { digestIn, type EventLog, type LogEvent } from '../formats/event-log/event.ts'
import { eventTypeName } from '../formats/event-log/event-types.ts'
import { extendsRegister, replayEventLog } from '../formats/event-log/replay.ts'
import type { TpmPrediction } from '../measure/tpm/boot.ts'
import { eventDigest, type PredictedEvent } from '../measure/tpm/event.ts'
import type { RegisterPrediction } from '../measure/tpm/registers.ts'

export interface ObservedBoot {
  readonly log: EventLog
  /** What the TPM itself says, by number. */
  readonly registers: ReadonlyMap<number, Uint8Array>
}

export interface RegisterComparison {
  readonly index: number
  /**
   * `equal`: prediction, register and, where its events are all in the log, the log agree. `log-disagrees`: the register
   * is as predicted, and the log does not lead to it.
   */
  readonly verdict: 'equal' | 'different' | 'log-disagrees' | 'unknown'
  /** For people: what differs, by the events' names; why it is not known. */
  readonly differences: readonly string[]
}

/** Compares the registers of a bank that a boot through firmware and stub extends. */
export function compareBoot(
  prediction: TpmPrediction,
  observed: ObservedBoot,
  bank: DigestAlgorithm = 'sha256',
): readonly RegisterComparison[] {
  const replayed = replayEventLog(observed.log, bank)
  return prediction.registers(bank).map((register) => {
    const { index } = register
    const own = prediction.events.filter(({ pcr }) => pcr === index)
    const logged = observed.log.events.filter((event) => event.register === index && extendsRegister(event))
    const differences = () => differencesOf(own, logged, bank)
    if (!register.known)
      return { index, verdict: 'unknown', differences: [...register.reasons, ...differences()] }
    return {
      index,
      ...judge(register, { inTpm: observed.registers.get(index), inLog: replayed.get(index) }, own),
      differences: differences(),
    }
  })
}

function judge(
  { value }: Extract<RegisterPrediction, { known: true }>,
  { inTpm, inLog }: { inTpm: Uint8Array | undefined; inLog: Uint8Array | undefined },
  own: readonly PredictedEvent[],
): Pick<RegisterComparison, 'verdict'> {
  if (inTpm === undefined || Buffer.compare(value, inTpm) !== 0) return { verdict: 'different' }
  // What the OS extends is not in the firmware's log; then that leads to an earlier value.
  if (own.length === 0 || own.some(({ type }) => type === 'runtime')) return { verdict: 'equal' }
  return { verdict: inLog && Buffer.compare(value, inLog) === 0 ? 'equal' : 'log-disagrees' }
}

/** The first place where the two lists of a register part, and what comes there in each. */
function differencesOf(
  own: readonly PredictedEvent[],
  logged: readonly LogEvent[],
  bank: DigestAlgorithm,
): readonly string[] {
  const predicted = own.filter(({ type }) => type !== 'runtime')
  const found: string[] = []
  for (let index = 0; index < Math.max(predicted.length, logged.length); index++) {
    const expected = predicted[index]
    const got = logged[index]
    if (expected && got && isSame(expected, got, bank)) continue
    const type = got ? eventTypeName(got.type) : 'nothing'
    found.push(
      `event ${index}: ${expected ? `${expected.type} ${expected.what}` : 'nothing'} predicted, ${type} logged`,
    )
  }
  return found
}

/** An event that is not known fits every event of its type. */
function isSame(expected: PredictedEvent, got: LogEvent, bank: DigestAlgorithm): boolean {
  if (eventTypeName(got.type) !== expected.type) return false
  const digest = eventDigest(expected, bank)
  const logged = digestIn(got, bank)
  return digest === undefined || (logged !== undefined && Buffer.compare(digest, logged) === 0)
}

/** One place of a register's events; where one side has more, the other is absent. */
export interface PairedEvent {
  readonly expected?: PredictedEvent
  readonly got?: LogEvent
  readonly same: boolean
}

/** Longer lists are paired by their places: a log may have 65536 events, and the table is their product. */
const MOST_ALIGNED = 1000

/** The events of a register side by side, so that one that is missing or too many does not part all that follow it. */
export function pairEvents(
  { events }: Pick<TpmPrediction, 'events'>,
  { log }: Pick<ObservedBoot, 'log'>,
  { index, bank = 'sha256' }: { readonly index: number; readonly bank?: DigestAlgorithm },
): readonly PairedEvent[] {
  const expected = events.filter(({ pcr, type }) => pcr === index && type !== 'runtime')
  const got = log.events.filter((event) => event.register === index && extendsRegister(event))
  const same = (a: number, b: number): boolean => {
    const [left, right] = [expected[a], got[b]]
    return left !== undefined && right !== undefined && isSame(left, right, bank)
  }
  const lengths = { expected: expected.length, got: got.length }
  return alignedPlaces(lengths, same).map(([a, b]) => ({
    ...(a !== undefined && expected[a] && { expected: expected[a] }),
    ...(b !== undefined && got[b] && { got: got[b] }),
    same: a !== undefined && b !== undefined && same(a, b),
  }))
}

type Places = readonly (readonly [expected: number | undefined, got: number | undefined])[]

/** Places of two lists along a longest common subsequence; what differs at the same place stands side by side. */
function alignedPlaces(
  { expected, got }: { readonly expected: number; readonly got: number },
  same: (a: number, b: number) => boolean,
): Places {
  const width = got + 1
  const isShort = expected <= MOST_ALIGNED && got <= MOST_ALIGNED
  const common = new Uint16Array(isShort ? (expected + 1) * width : 0)
  for (let a = expected - 1; isShort && a >= 0; a--)
    for (let b = got - 1; b >= 0; b--)
      common[a * width + b] = same(a, b)
        ? 1 + (common[(a + 1) * width + b + 1] ?? 0)
        : Math.max(common[(a + 1) * width + b] ?? 0, common[a * width + b + 1] ?? 0)
  const rest = (a: number, b: number): number => common[a * width + b] ?? 0
  const places: [number | undefined, number | undefined][] = []
  let [a, b] = [0, 0]
  while (a < expected || b < got) {
    const both = a < expected && b < got
    const together = both && (same(a, b) || rest(a + 1, b + 1) === rest(a, b))
    if (together) places.push([a++, b++])
    else if (a < expected && (b >= got || rest(a + 1, b) === rest(a, b))) places.push([a++, undefined])
    else places.push([undefined, b++])
  }
  return places
}

/** What is different between two predictions, by the events' names: `pcr11: section .osrel, 75 bytes`. */
export function explainDifference(
  before: TpmPrediction,
  after: TpmPrediction,
  bank: DigestAlgorithm = 'sha256',
): readonly string[] {
  const digests = ({ events }: TpmPrediction) =>
    events.map((event) => ({ event, digest: eventDigest(event, bank)?.toString('hex') ?? 'not known' }))
  const old = digests(before)
  const now = digests(after)
  const count = (list: typeof old, each: (typeof old)[number]) =>
    list.filter(({ event, digest }) => event.pcr === each.event.pcr && digest === each.digest).length
  return now
    .filter((each) => count(old, each) < count(now, each))
    .map(({ event }) => `pcr${event.pcr}: ${event.what}`)
}
