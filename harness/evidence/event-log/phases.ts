/** What systemd measured from user space: systemd's docs/TPM2_PCR_MEASUREMENTS.md. */
import { digest, equalBytes } from '../../base/digest.ts'
import type { SystemdRecord } from '../../formats/event-log/systemd-log.ts'
import type { VerifiedEventLog } from './verify.ts'
import type { Reading } from './view.ts'

const PHASE_PCR = 11
const PHASE_RTMR = 2

/** What systemd's log says. */
export interface UserspaceReading {
  /** Boot phases in order: "enter-initrd", "leave-initrd", "sysinit", "ready". `event` counts records. */
  readonly phases: readonly Reading<string>[]
  /** Other strings that were measured as they are: "machine-id:…", "file-system:…". Escape before showing. */
  readonly strings: readonly Reading<string>[]
  /** Known by their digest alone: a volume key is measured as an HMAC. */
  readonly digests: readonly Reading<{ readonly textHint: string | undefined; readonly digest: Uint8Array }>[]
}

/**
 * Records over NV indices are left out: no quote over PCRs covers them. Never throws; systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md.
 */
export function readUserspace(log: VerifiedEventLog): UserspaceReading {
  const records = log.systemd.filter(({ register }) => register.kind === log.registers)
  const read = records.flatMap((record) => {
    const measured = record.digests.find((each) => each.bank === log.bank)?.bytes
    if (!measured) return []
    const covered = log.coverage.get(record.register.index) === 'equal'
    const { text } = record
    const isText = text !== undefined && equalBytes(digest(log.bank, text), measured)
    return [{ record, measured, covered, text: isText ? text : undefined, textHint: text }]
  })
  const strings = read.flatMap(({ record, covered, text }) =>
    text === undefined ? [] : [{ record, reading: { value: text, covered, event: record.number } }],
  )
  return {
    phases: strings.filter(({ record }) => isPhase(record)).map(({ reading }) => reading),
    strings: strings.filter(({ record }) => !isPhase(record)).map(({ reading }) => reading),
    digests: read.flatMap(({ record, covered, text, textHint, measured }) =>
      text === undefined ? [{ value: { textHint, digest: measured }, covered, event: record.number }] : [],
    ),
  }
}

/** By the register: what else goes there is a word too, and a label is not hashed. */
function isPhase({ register, text }: SystemdRecord): boolean {
  if (register.kind === 'pcr') return register.index === PHASE_PCR
  // In a TD machine-id and file systems share the register; they have a colon, and phases have none.
  return register.kind === 'rtmr' && register.index === PHASE_RTMR && !text?.includes(':')
}
