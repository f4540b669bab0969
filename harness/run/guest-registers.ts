/** RTMRs as the boot that is under way has extended them, whatever its host makes of its vTPM. */
import { PcrExtendLog, pcrEventOf } from '../machine/vtpm/pcr-extends.ts'
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

/** Where the host may rewrite what passes: the guest's own words count, as it sent them and as they were answered. */
export function registersFromBus(host: TpmBusHost): GuestRegisters & { readonly host: TpmBusHost } {
  const registers = new RuntimeRegisters()
  return {
    host: {
      ...host,
      onExchange: (command, response) => {
        host.onExchange?.(command, response)
        const event = pcrEventOf(command, response)
        if (event) registers.apply(event)
      },
    },
    now: async () => registers.values,
  }
}
