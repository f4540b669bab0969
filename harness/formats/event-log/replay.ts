/**
 * What the registers hold after the events of a log: TPM2_PCR_Extend (TPM 2.0 Part 3), TDG.MR.RTMR.EXTEND (TDX module).
 */
import { DIGEST_LENGTHS, type DigestAlgorithm, digest } from '../../base/digest.ts'
import { digestIn, type EventLog, type LogEvent } from './event.ts'
import { EV } from './event-types.ts'
import { startupLocality } from './parse.ts'
import type { SystemdRecord } from './systemd-log.ts'

/** EV_NO_ACTION is never extended: PFP 1.06, EV_NO_ACTION. Never throws. */
export function extendsRegister(event: LogEvent): boolean {
  return event.type !== EV.NO_ACTION
}

/** new = H(old ‖ digest). TPM 2.0 Part 3, TPM2_PCR_Extend; both as long as the bank's digest. Never throws. */
export function extend(bank: DigestAlgorithm, old: Uint8Array, with_: Uint8Array): Buffer {
  return digest(bank, Buffer.concat([old, with_]))
}

/**
 * The value of each register that the log names, in `bank`, keyed as the log numbers them. Registers start at zero; PCR
 * 0 starts at the locality of TPM2_Startup (4 where a hardware core root measured before it). Empty where the log does
 * not have the bank. Never throws. TPM 2.0 Part 3, TPM2_PCR_Extend; PFP 1.06, "Startup Locality".
 */
export function replayEventLog(log: EventLog, bank: DigestAlgorithm): ReadonlyMap<number, Uint8Array> {
  const registers = new Map<number, Uint8Array>()
  if (!log.banks.some((each) => each.bank === bank)) return registers
  const locality = initialLocality(log)
  if (locality !== undefined) registers.set(0, initialValue(bank, locality))
  for (const event of log.events) {
    const measured = extendsRegister(event) ? digestIn(event, bank) : undefined
    if (!measured) continue
    const old = registers.get(event.register) ?? initialValue(bank)
    registers.set(event.register, extend(bank, old, measured))
  }
  return registers
}

/** What of systemd's log counts. */
export interface SystemdReplay {
  readonly records: readonly SystemdRecord[]
  /** Which of its records count: a TPM's, or a TD's. */
  readonly registers: 'pcr' | 'rtmr'
  readonly bank: DigestAlgorithm
}

/**
 * Goes on from `start` (PCR, or RTMR 0 to 3, to value) with what systemd measured. A record without a digest in `bank`
 * did not extend that bank. The result is a new map. Never throws.
 */
export function replaySystemdLog(
  start: ReadonlyMap<number, Uint8Array>,
  { records, registers, bank }: SystemdReplay,
): Map<number, Uint8Array> {
  const values = new Map(start)
  for (const { register, digests } of records) {
    const measured = register.kind === registers ? digests.find((each) => each.bank === bank) : undefined
    if (!measured) continue
    const old = values.get(register.index) ?? initialValue(bank)
    values.set(register.index, extend(bank, old, measured.bytes))
  }
  return values
}

/**
 * All zero but for the last byte, which holds the locality in PCR 0. As long as the bank's digest, in bytes: PFP 1.06,
 * "Startup Locality". Never throws.
 */
export function initialValue(bank: DigestAlgorithm, locality = 0): Buffer {
  const value = Buffer.alloc(DIGEST_LENGTHS[bank])
  value[value.length - 1] = locality
  return value
}

function initialLocality(log: EventLog): number | undefined {
  const stated = log.events.map(startupLocality).find((locality) => locality !== undefined)
  if (stated !== undefined) return stated
  return log.events.some(({ type, register }) => type === EV.EFI_HCRTM_EVENT && register === 0)
    ? 4
    : undefined
}
