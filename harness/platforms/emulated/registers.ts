/**
 * RTMRs of an emulated TD: replayed from what this boot extended its vTPM by, as a TD's firmware and stub extend RTMRs
 * where there is one (UEFI specification 2.11, 38.4.1: PCR 1 and 7 are RTMR0; 2 to 6 RTMR1; 8 to 15 RTMR2; PCR 0 is
 * MRTD). RTMR3 stays zero, as nothing of the boot extends it. What comes when the firmware has been left (IMA's, systemd's
 * words in PCR 11) a guest of hardware extends its TPM by, and no RTMR.
 */
import { createHash } from 'node:crypto'
import type { PcrEvent } from '../../machine/vtpm/pcr-extends.ts'

/** The last event of a firmware (PC Client Platform Firmware Profile 1.06, 8.2.4), in the PCR where it is. */
const LEFT = createHash('sha384').update('Exit Boot Services Returned with Success').digest()
const LEFT_PCR = 5

const REGISTERS = 4
const REGISTER_BYTES = 48

/** Undefined for PCR 0, and for those that stand for no RTMR. */
export function rtmrOf(pcr: number): number | undefined {
  if (pcr === 1 || pcr === 7) return 0
  if (pcr >= 2 && pcr <= 6) return 1
  return pcr >= 8 && pcr <= 15 ? 2 : undefined
}

export class RuntimeRegisters {
  #values = zeros()
  #isLeft = false

  /** RTMR0 to RTMR3. */
  get values(): readonly Buffer[] {
    return this.#values
  }

  apply(event: PcrEvent): void {
    if (event.kind === 'startup') {
      this.#values = zeros()
      this.#isLeft = false
      return
    }
    const index = rtmrOf(event.pcr)
    if (index === undefined || this.#isLeft) return
    this.#isLeft = event.pcr === LEFT_PCR && event.digest.equals(LEFT)
    const value = this.#values[index] ?? Buffer.alloc(REGISTER_BYTES)
    this.#values[index] = createHash('sha384').update(value).update(event.digest).digest()
  }
}

function zeros(): Buffer[] {
  return Array.from({ length: REGISTERS }, () => Buffer.alloc(REGISTER_BYTES))
}
