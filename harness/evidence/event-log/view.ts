/** A verified log, seen register by register: what each reader of meaning starts from. */
import { type DigestAlgorithm, digest, equalBytes } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import { digestIn, type LogEvent } from '../../formats/event-log/event.ts'
import { extendsRegister } from '../../formats/event-log/replay.ts'
import { hashedBytes, separates } from './data-check.ts'
import type { VerifiedEventLog } from './verify.ts'

/**
 * One thing that the log says. `covered`: the bytes it was read from are hashed into a register whose value somebody
 * vouches for and the log explains. Where it is false the value is what the guest says, and no more.
 */
export interface Reading<Value> {
  readonly value: Value
  readonly covered: boolean
  /** Number of the event in the log. */
  readonly event: number
}

/**
 * UEFI 2.10, 38.4.1 (Intel Trust Domain Extension): PCR to RTMR. PCR 0 is in MRTD, and 16 to 23 have no counterpart.
 */
function rtmrOf(pcr: number): number | undefined {
  if (pcr === 1 || pcr === 7) return 0
  if (pcr >= 2 && pcr <= 6) return 1
  return pcr >= 8 && pcr <= 15 ? 2 : undefined
}

/** Events by register, and which of them some reader has explained. PCRs in a TD: UEFI 2.10, 38.4.1. */
export class LogView {
  readonly log: VerifiedEventLog
  /** Events whose meaning some reader has told. */
  readonly #explained = new Set<number>()
  readonly #byRegister = new Map<number, LogEvent[]>()

  constructor(log: VerifiedEventLog) {
    this.log = log
    const shift = log.registers === 'rtmr' ? 1 : 0
    for (const event of log.log.events) {
      if (!extendsRegister(event)) continue
      const register = event.register - shift
      const events = this.#byRegister.get(register) ?? []
      this.#byRegister.set(register, events)
      events.push(event)
    }
  }

  /** The register that stands for a PCR: itself, or an RTMR. */
  registerOf(pcr: number): number | undefined {
    return this.log.registers === 'pcr' ? pcr : rtmrOf(pcr)
  }

  /** What extended the register that stands for `pcr`, in order; in a TD together with its neighbours' events. */
  eventsOf(pcr: number): readonly LogEvent[] {
    const register = this.registerOf(pcr)
    return register === undefined ? [] : (this.#byRegister.get(register) ?? [])
  }

  /** Whether the log explains the whole value of the register. */
  isCovered(pcr: number): boolean {
    const register = this.registerOf(pcr)
    return register !== undefined && this.log.coverage.get(register) === 'equal'
  }

  /** What the firmware measured before the separator ended its part, and what came after. */
  aroundSeparator(pcr: number): {
    readonly before: readonly LogEvent[]
    readonly after: readonly LogEvent[]
  } {
    const events = this.eventsOf(pcr)
    const at = events.findIndex((event) => separates(event, this.log.bank) !== undefined)
    return at < 0
      ? { before: [], after: events }
      : { before: events.slice(0, at), after: events.slice(at + 1) }
  }

  /** A value that was read from the event's own data; `part` of it is enough where the name does not matter. */
  fromData<Value>(
    pcr: number,
    event: LogEvent,
    value: Value,
    enough: 'data' | 'part' = 'data',
  ): Reading<Value> {
    const check = this.log.dataChecks.get(event.number)
    const reading = this.fromDigest(pcr, event, value)
    return check === 'data' || check === enough ? reading : { ...reading, covered: false }
  }

  /** A value that is itself what was extended, or that was found to hash to it. */
  fromDigest<Value>(pcr: number, event: LogEvent, value: Value): Reading<Value> {
    this.#explained.add(event.number)
    return { value, covered: this.isCovered(pcr), event: event.number }
  }

  /** The same by the register's own number, for what its digest alone says. */
  readRegister<Value>(register: number, event: LogEvent, value: Value): Reading<Value> {
    this.#explained.add(event.number)
    return { value, covered: this.log.coverage.get(register) === 'equal', event: event.number }
  }

  /** What the event's digest is over, whatever its type says; undefined where that is not in the log. */
  hashedBytes(event: LogEvent): Uint8Array | undefined {
    return hashedBytes(event, this.bank)
  }

  digestOf(event: LogEvent): Uint8Array {
    return digestIn(event, this.log.bank) ?? Buffer.alloc(0)
  }

  isDigestOf(event: LogEvent, bytes: Uint8Array): boolean {
    return equalBytes(digest(this.bank, bytes), this.digestOf(event))
  }

  get bank(): DigestAlgorithm {
    return this.log.bank
  }

  /** Extending events that no reader knew: whoever wants to know all of a register must find none of it here. */
  unexplained(): readonly LogEvent[] {
    const all = [...this.#byRegister.values()].flat()
    return all.filter(({ number }) => !this.#explained.has(number)).sort((a, b) => a.number - b.number)
  }
}

/**
 * What `parse` gives, or undefined where the bytes are malformed: the event then stays unexplained. Anything but a
 * FormatError is thrown on.
 */
export function wellFormed<Value>(parse: () => Value): Value | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}
