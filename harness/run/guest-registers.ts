/** RTMRs as the boot that is under way has extended them, whatever its host makes of its vTPM. */
import { meantBy, PcrExtendLog, pcrEventOf } from '../machine/vtpm/pcr-extends.ts'
import type { TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import { RuntimeRegisters } from '../platforms/emulated/registers.ts'

export interface GuestRegisters {
  /** RTMR0 to RTMR3. */
  now(): Promise<readonly Buffer[]>
}

/** Where QEMU and swtpm speak to each other: what swtpm logs is what the guest said. */
export function registersFromLog(file: string): GuestRegisters {
  const log = new PcrExtendLog(file)
  const registers = new RuntimeRegisters()
  return {
    now: async () => {
      for await (const event of log.read()) registers.apply(event)
      return registers.values
    },
  }
}

/**
 * Where the host may rewrite what passes: the guest's own words count, as it sent them. Registers of a TD know nothing of a
 * TPM, so an extend counts whatever its host answers, and a start only where it is the guest's and the TPM itself did it. Of
 * a digest that the TPM makes (TPM2_PCR_Event) the host may answer any; where it interfered, the register becomes one that
 * nobody expects.
 */
export function registersFromBus(host: TpmBusHost): GuestRegisters & { readonly host: TpmBusHost } {
  const registers = new RuntimeRegisters()
  let isHonest = true
  return {
    host: {
      onCommand: (command) => {
        const decision = host.onCommand?.(command) ?? { forward: command }
        isHonest = 'forward' in decision && decision.forward.equals(command)
        return decision
      },
      onExchange: (command, response) => {
        host.onExchange?.(command, response)
        const event = isHonest ? pcrEventOf(command, response) : meantBy(command)
        if (event) registers.apply(event)
      },
    },
    now: async () => registers.values,
  }
}
