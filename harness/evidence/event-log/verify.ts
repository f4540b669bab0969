/**
 * Compares the replay of a log with registers that hardware or a TPM vouches for. A log is a claim; what makes it
 * evidence is that it explains the registers, and then only as far as they were given.
 */
import { type DigestAlgorithm, equalBytes } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import type { EventLog, LogEvent } from '../../formats/event-log/event.ts'
import { eventTypeName } from '../../formats/event-log/event-types.ts'
import {
  extendsRegister,
  initialValue,
  replayEventLog,
  replaySystemdLog,
} from '../../formats/event-log/replay.ts'
import type { SystemdRecord } from '../../formats/event-log/systemd-log.ts'
import { checkEventData, type DataCheck, isHashedType } from './data-check.ts'

/** Registers that only the firmware's log explains, from 0: an extended one without an event is a log with a hole. */
const FIRMWARE_REGISTERS = { pcr: 8, rtmr: 2 } as const

/** `pcr`: 0 to 23, TCG PC Client PTP. `rtmr`: 0 to 3, Intel TDX module ABI, TDREPORT. */
export type RegisterKind = 'pcr' | 'rtmr'

/**
 * A log and the registers that it has to explain; values as long as the bank. TPM 2.0 Part 2, TPML_PCR_SELECTION; RTMRs
 * have 48 bytes.
 */
export interface EventLogRequest {
  readonly log: EventLog
  /** What systemd measured after the firmware's log ended; records over NV indices prove nothing here. */
  readonly systemd?: readonly SystemdRecord[] | undefined
  readonly registers: RegisterKind
  readonly bank: DigestAlgorithm
  /** From a verified quote, by number. */
  readonly values: ReadonlyMap<number, Uint8Array>
  /**
   * Registers that may hold more than the log says (PCR 10 with IMA, PCR 15 with a later login): they are compared, but
   * a difference only means that nothing in them is believed.
   */
  readonly mayDiffer?: readonly number[]
}

/**
 * `equal`: the log explains the register's value, wholly. `differs`: it does not, and need not. `unlogged`: the
 * register was extended, and the log has no event of it. `not-given`: nobody vouches for the register.
 */
export type Coverage = 'equal' | 'differs' | 'unlogged' | 'not-given'

/** A log that was compared, register by register; values as long as the bank. TPM 2.0 Part 3, TPM2_PCR_Extend. */
export interface VerifiedEventLog {
  readonly kind: 'event-log'
  readonly log: EventLog
  readonly systemd: readonly SystemdRecord[]
  readonly registers: RegisterKind
  readonly bank: DigestAlgorithm
  /** Every register that was given or that the log extends. */
  readonly coverage: ReadonlyMap<number, Coverage>
  readonly replayed: ReadonlyMap<number, Uint8Array>
  /** By event number, of events that extend a register and whose type the profile wants to be over their data. */
  readonly dataChecks: ReadonlyMap<number, DataCheck>
}

/**
 * Throws VerifyError `replay-mismatch` where a register that the log extends holds another value, where a register of
 * the firmware's (PCR 0 to 7, RTMR0 and 1) was extended without an event, or where no register of the log was given;
 * `event-mismatch` where an event whose digest must be over its data has other data. TPM 2.0 Part 3, TPM2_PCR_Extend;
 * Intel TDX module, TDG.MR.RTMR.EXTEND.
 */
export function verifyEventLog(request: EventLogRequest): VerifiedEventLog {
  const compared = compareEventLog(request)
  const { coverage, replayed, registers, bank } = compared
  const allowed = new Set(request.mayDiffer)
  for (const [register, state] of coverage)
    if (
      (state === 'differs' || (state === 'unlogged' && register < FIRMWARE_REGISTERS[registers])) &&
      !allowed.has(register)
    )
      throw replayMismatch(`${nameOf(registers, register)} (${bank}) is not what the log replays to`, {
        expected: hex(request.values.get(register)),
        got: hex(replayed.get(register)),
      })
  if (![...coverage.values()].includes('equal'))
    throw replayMismatch('no register that it extends is vouched for', {
      expected: `one or more of ${[...replayed.keys()].map((each) => nameOf(registers, each)).join(', ') || 'none'}`,
      got: [...request.values.keys()].map((each) => nameOf(registers, each)).join(', ') || 'none',
    })
  for (const event of compared.log.events) mustMatchItsData(event, compared)
  return compared
}

/**
 * The same without a verdict: for showing a log that nobody vouches for. `values` may be empty. Never throws. TPM 2.0
 * Part 3, TPM2_PCR_Extend.
 */
export function compareEventLog(request: EventLogRequest): VerifiedEventLog {
  const { log, systemd = [], registers, bank, values } = request
  const replayed = replayAll(request)
  const coverage = new Map<number, Coverage>()
  for (const [register, value] of replayed) {
    const given = values.get(register)
    coverage.set(register, given === undefined ? 'not-given' : equalBytes(given, value) ? 'equal' : 'differs')
  }
  for (const [register, value] of values)
    if (!replayed.has(register)) coverage.set(register, isInitial(bank, value) ? 'equal' : 'unlogged')
  const extending = log.events.filter((event) => extendsRegister(event) && isHashedType(event))
  const dataChecks = new Map(extending.map((event) => [event.number, checkEventData(event, bank)]))
  return { kind: 'event-log', log, systemd, registers, bank, coverage, replayed, dataChecks }
}

function replayAll({ log, systemd = [], registers, bank }: EventLogRequest): Map<number, Uint8Array> {
  const shift = registers === 'rtmr' ? 1 : 0
  const firmware = [...replayEventLog(log, bank)].map(([index, value]): [number, Uint8Array] => [
    index - shift,
    value,
  ])
  const after = replaySystemdLog(new Map(firmware), { records: systemd, registers, bank })
  // The CC log's register 0 is MRTD, which nothing extends.
  return new Map([...after].filter(([register]) => register >= 0))
}

/** Zeros, or ones in the registers of a dynamic launch that did not happen. */
function isInitial(bank: DigestAlgorithm, value: Uint8Array): boolean {
  return equalBytes(value, initialValue(bank)) || value.every((byte) => byte === 0xff)
}

function mustMatchItsData(event: LogEvent, { dataChecks, bank }: VerifiedEventLog): void {
  if (dataChecks.get(event.number) !== 'mismatch') return
  const type = eventTypeName(event.type)
  throw new VerifyError(
    `cannot verify the event log: event ${event.number} (${type}) at 0x${event.offset.toString(16)} has data that its digest is not over`,
    {
      code: 'event-mismatch',
      expected: `${bank} ${hex(event.digests.find((each) => each.bank === bank)?.bytes)}`,
      got: `${event.data.length} bytes with another digest`,
    },
  )
}

function replayMismatch(
  problem: string,
  values: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(`cannot verify the event log: ${problem}`, { code: 'replay-mismatch', ...values })
}

/** "PCR 7", "RTMR 1". PCR 0 to 23, RTMR 0 to 3. Never throws. */
export function nameOf(kind: RegisterKind, register: number): string {
  return `${kind === 'pcr' ? 'PCR ' : 'RTMR'}${register}`
}

const hex = (bytes: Uint8Array | undefined): string =>
  bytes ? Buffer.from(bytes).toString('hex') : 'nothing'
