/**
 * What was measured where the answer to a policy's question must be, and nobody can name. The type of an event is not
 * hashed, and what systemd's log replays after the firmware's may have been the firmware's: so whoever wants to know
 * all of a register must find none of it here.
 */
import type { SystemdRecord } from '../../formats/event-log/systemd-log.ts'
import type { BootReading } from './read.ts'
import type { VerifiedEventLog } from './verify.ts'
import { LogView } from './view.ts'

/** "event 12" of the firmware's log, "record 3" of systemd's: in the registers that stand for `pcrs`. Never throws. */
export function unknownIn(
  pcrs: readonly number[],
  verified: VerifiedEventLog,
  { unexplained, additions, userspace }: BootReading,
): readonly string[] {
  const view = new LogView(verified)
  const registers = new Set(pcrs.map((pcr) => view.registerOf(pcr)))
  const events = new Set(pcrs.flatMap((pcr) => view.eventsOf(pcr).map(({ number }) => number)))
  const digests = new Set(userspace.digests.map(({ event }) => event))
  const records = verified.systemd.filter(
    ({ register }) => register.kind === verified.registers && registers.has(register.index),
  )
  return [
    ...[...unexplained.map(({ number }) => number), ...additions.map(({ event }) => event)]
      .filter((number) => events.has(number))
      .map((number) => `event ${number}`),
    ...records
      .filter((record) => digests.has(record.number) || !isUserspaces(record))
      .map(({ number }) => `record ${number}`),
  ]
}

const USERSPACE_REGISTERS = { pcr: 11, rtmr: 2 } as const

/** A text where systemd measures from user space; UTF-16 read as UTF-8 would have NULs. */
function isUserspaces({ register, text }: SystemdRecord): boolean {
  return (
    register.kind !== 'nv-index' &&
    register.index === USERSPACE_REGISTERS[register.kind] &&
    text?.includes('\0') === false
  )
}
