/** Requests to verify a log, for tests: what an honest machine gives, and what a guest can make of it. */
import type { DigestAlgorithm } from '../../base/digest.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { replayEventLog, replaySystemdLog } from '../../formats/event-log/replay.ts'
import { parseSystemdLog } from '../../formats/event-log/systemd-log.ts'
import { type SyntheticEvent, syntheticLog } from '../../formats/event-log/testing/synthetic-log.ts'
import { type BootReading, readEventLog } from '../event-log/read.ts'
import { type EventLogRequest, type RegisterKind, verifyEventLog } from '../event-log/verify.ts'

export interface HonestSetup {
  readonly registers?: RegisterKind
  readonly bank?: DigestAlgorithm
  readonly systemd?: Buffer
}

/** A request in which the registers hold what the events leave: what an honest machine gives. */
export function honest(events: readonly SyntheticEvent[], setup: HonestSetup = {}): EventLogRequest {
  const { registers = 'pcr', bank = registers === 'rtmr' ? 'sha384' : 'sha256', systemd } = setup
  const log = parseEventLog(syntheticLog(events, { banks: [bank] }))
  const shift = registers === 'rtmr' ? 1 : 0
  const firmware = new Map(
    [...replayEventLog(log, bank)].map(([index, value]) => [index - shift, value] as const),
  )
  const records = systemd && parseSystemdLog(systemd)
  const values = records ? replaySystemdLog(firmware, { records, registers, bank }) : firmware
  return { log, registers, bank, values, systemd: records }
}

export const read = (request: EventLogRequest): BootReading => readEventLog(verifyEventLog(request))

/** The same registers, another log: what a guest can try once the machine has booted. */
export function withEvents(request: EventLogRequest, events: readonly SyntheticEvent[]): EventLogRequest {
  return { ...request, log: parseEventLog(syntheticLog(events, { banks: [request.bank] })) }
}
