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
  const digest = eventDigest(expected, bank)
  const logged = digestIn(got, bank)
  const equal = digest === undefined || (logged !== undefined && Buffer.compare(digest, logged) === 0)
  return equal && eventTypeName(got.type) === expected.type
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
