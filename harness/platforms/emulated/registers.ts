/**
 * RTMRs of an emulated TD: replayed from what this boot extended its vTPM by, as a TD's firmware and stub extend RTMRs
 * where there is one (UEFI specification 2.11, 38.4.1: PCR 1 and 7 are RTMR0; 2 to 6 RTMR1; 8 to 15 RTMR2; PCR 0 is
 * MRTD). RTMR3 stays zero, as nothing of the boot extends it. What comes when the firmware has been left (IMA's, systemd's
 * words in PCR 11) a guest of hardware extends its TPM by, and no RTMR.
 *
 * That the firmware was left is told by its last event, which any program of the guest can extend as well: who did it a TPM
 * does not say. So nothing that a program does hides what comes after it. The firmware's own last event comes in any case,
 * and RTMR2 is what it was at the last of them; RTMR0 and 1, which are the firmware's registers and nobody's in a running
 * system, go on to the end. A system that extends these PCRs all the same has other RTMRs than it would have on hardware,
 * and is refused where it would not be.
 */
import { createHash } from 'node:crypto'
import type { PcrEvent } from '../../machine/vtpm/pcr-extends.ts'

/** The last event of a firmware (PC Client Platform Firmware Profile 1.06, 8.2.4), in the PCR where it is. */
const LEFT = createHash('sha384').update('Exit Boot Services Returned with Success').digest()
const LEFT_PCR = 5

const REGISTERS = 4
/** The one that what the firmware started, and the system behind it, extend. */
const SYSTEM = 2
const REGISTER_BYTES = 48

/** Undefined for PCR 0, and for those that stand for no RTMR. */
export function rtmrOf(pcr: number): number | undefined {
  if (pcr === 1 || pcr === 7) return 0
  if (pcr >= 2 && pcr <= 6) return 1
  return pcr >= 8 && pcr <= 15 ? 2 : undefined
}

export class RuntimeRegisters {
  #values = zeros()
  /** RTMR2 when the firmware was left, as far as is known; undefined before. */
  #left: Buffer | undefined

  /** RTMR0 to RTMR3. */
  get values(): readonly Buffer[] {
    const left = this.#left
    return left ? this.#values.with(SYSTEM, left) : this.#values
  }

  apply(event: PcrEvent): void {
    if (event.kind === 'startup') {
      this.#values = zeros()
      this.#left = undefined
      return
    }
    const index = rtmrOf(event.pcr)
    if (index === undefined) return
    const value = this.#values[index] ?? Buffer.alloc(REGISTER_BYTES)
    this.#values[index] = createHash('sha384').update(value).update(event.digest).digest()
    if (event.pcr === LEFT_PCR && event.digest.equals(LEFT)) this.#left = this.#values[SYSTEM]
  }
}

function zeros(): Buffer[] {
  return Array.from({ length: REGISTERS }, () => Buffer.alloc(REGISTER_BYTES))
}
