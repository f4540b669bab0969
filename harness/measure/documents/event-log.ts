/** Event logs as documents. */
import type { EventLog, LogEvent } from '../../formats/event-log/event.ts'
import { eventTypeName } from '../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { extendsRegister, replayEventLog } from '../../formats/event-log/replay.ts'
import type { MeasuredDocument, MeasuredEvent } from './document.ts'
import { eventWords } from './event-words.ts'

export type LogOf = 'tpm' | 'td'

/**
 * A binary log: `binary_bios_measurements`, or the area that a CCEL table points to. A CC log counts RTMR0 as register
 * 1; its only bank is SHA-384, by which it is told. Throws FormatError.
 */
export function eventLogDocument(bytes: Uint8Array): MeasuredDocument {
  const log = parseEventLog(bytes)
  const of = logOf(log)
  return {
    kind: 'event-log',
    ...registersOf(log, of),
    events: log.events.filter(extendsRegister).map((event) => eventOf(event, of)),
  }
}

function logOf({ banks }: EventLog): LogOf {
  return banks.length === 1 && banks[0]?.bank === 'sha384' ? 'td' : 'tpm'
}

function registersOf(log: EventLog, of: LogOf): Pick<MeasuredDocument, 'rtmr' | 'pcrs'> {
  if (of === 'td') {
    const values = replayEventLog(log, 'sha384')
    const rtmr = [1, 2, 3, 4].map((register) => hex(values.get(register) ?? new Uint8Array(48)))
    return { rtmr }
  }
  const banks = log.banks.flatMap(({ bank }) => bank ?? [])
  return {
    pcrs: Object.fromEntries(
      banks.map((bank) => [
        bank,
        Object.fromEntries(
          [...replayEventLog(log, bank)].map(([register, value]) => [String(register), hex(value)]),
        ),
      ]),
    ),
  }
}

function eventOf({ register, type, digests, data }: LogEvent, of: LogOf): MeasuredEvent {
  return {
    register: of === 'td' ? `rtmr${register - 1}` : `pcr${register}`,
    type: eventTypeName(type),
    description: eventWords(type, data),
    digests: Object.fromEntries(digests.flatMap(({ bank, bytes }) => (bank ? [[bank, hex(bytes)]] : []))),
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
