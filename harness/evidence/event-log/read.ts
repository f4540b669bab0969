/** What a verified log says, in words: RFC 9334's evidence before any policy. */
import type { DigestAlgorithm } from '../../base/digest.ts'
import type { LogEvent } from '../../formats/event-log/event.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { type BootLoaderReading, readBootLoader } from './boot-loader.ts'
import { type BootPathReading, readBootPath } from './boot-path.ts'
import { separates } from './data-check.ts'
import { readUserspace, type UserspaceReading } from './phases.ts'
import { readSecureBoot, type SecureBootReading } from './secure-boot.ts'
import type { VerifiedEventLog } from './verify.ts'
import { LogView, type Reading } from './view.ts'

/**
 * All that a log says, each value with whether it is covered. PFP 1.06, "PCR Usage"; systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md.
 */
export interface BootReading extends BootPathReading, BootLoaderReading {
  readonly bank: DigestAlgorithm
  readonly secureBoot: SecureBootReading
  readonly userspace: UserspaceReading
  /** By register (PCR, or RTMR 0 to 3): where the firmware's part ended, and whether it reported an error. */
  readonly separators: readonly Reading<{
    readonly register: number
    readonly state: 'separator' | 'error'
  }>[]
  /**
   * Events that extended a register and have no meaning here: firmware blobs, ACPI tables, vendors' own. Where a policy
   * wants to know all of a register ("only these images ran"), none of that register may be among them.
   */
  readonly unexplained: readonly LogEvent[]
}

/**
 * Nothing in the result is believed because the log says so: `covered` tells for each value whether a register vouches
 * for it. Never throws for what a log contains; an event whose data are malformed is `unexplained`. PFP 1.06, "Event
 * Logging".
 */
export function readEventLog(verified: VerifiedEventLog): BootReading {
  const view = new LogView(verified)
  return {
    bank: verified.bank,
    separators: readSeparators(view),
    secureBoot: readSecureBoot(view),
    ...readBootPath(view),
    ...readBootLoader(view),
    userspace: readUserspace(verified),
    unexplained: view.unexplained(),
  }
}

function readSeparators(view: LogView): BootReading['separators'] {
  const shift = view.log.registers === 'rtmr' ? 1 : 0
  return view.log.log.events.flatMap((event) => {
    const state = event.type === EV.NO_ACTION ? undefined : separates(event, view.bank)
    if (!state) return []
    const register = event.register - shift
    return [view.readRegister(register, event, { register, state })]
  })
}
