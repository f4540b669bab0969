/** A host that fakes what its vTPM was extended by: the registers of one boot, quoted for another. */
import type { BusDecision, TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import type { Attack } from './attack.ts'

const PCR_EXTEND = 0x182
const CODE_OFFSET = 6
const PCR_OFFSET = 10
/** The response of TPM2_PCR_Extend to a password session (TPM 2.0 Library, part 3, 22.2). */
const EXTENDED = Buffer.from('80020000001300000000000000000000010000', 'hex')

/** What one boot extended each register by: whole commands, in their order. */
export type RecordedExtends = ReadonlyMap<number, readonly Buffer[]>

/** Records the extends of an honest boot; `recorded` is whole when the guest is where it will ask for a quote. */
export function recordExtends(): TpmBusHost & { readonly recorded: RecordedExtends } {
  const recorded = new Map<number, Buffer[]>()
  return {
    recorded,
    onExchange: (command, response) => {
      const pcr = extendedPcr(command)
      if (pcr === undefined || response.readUInt32BE(CODE_OFFSET) !== 0) return
      recorded.set(pcr, [...(recorded.get(pcr) ?? []), Buffer.from(command)])
    },
  }
}

/**
 * The TPM gets the honest boot's extends instead of those of the guest: the n-th of a register is the recorded n-th, and
 * what comes after the last is answered with success and never done. All other commands pass.
 */
export function fakeExtends(recorded: RecordedExtends): Attack {
  return {
    id: 'fake-extends',
    seam: 'tpm-bus',
    interference: 'the host rewrites what the guest extends its vTPM by into what an honest boot did',
    detectedBy: "the TEE's own evidence, which the vTPM has no part in",
    apply: async (victim) => {
      victim.tpmBus = rewriting(recorded)
    },
  }
}

function rewriting(recorded: RecordedExtends): TpmBusHost {
  let seen = new Map<number, number>()
  return {
    onCommand: (command): BusDecision => {
      const pcr = extendedPcr(command)
      if (pcr === undefined) return { forward: command }
      const index = seen.get(pcr) ?? 0
      seen.set(pcr, index + 1)
      const honest = recorded.get(pcr)?.[index]
      return honest ? { forward: honest } : { answer: EXTENDED }
    },
    onExchange: (command, response) => {
      // The guest was reset. A kernel asks for a start as well, of a TPM that has long been started, and is refused.
      if (command.readUInt32BE(CODE_OFFSET) !== STARTUP) return
      if (response.readUInt32BE(CODE_OFFSET) === 0) seen = new Map()
    },
  }
}

const STARTUP = 0x144

function extendedPcr(command: Buffer): number | undefined {
  if (command.length < PCR_OFFSET + 4 || command.readUInt32BE(CODE_OFFSET) !== PCR_EXTEND) return undefined
  return command.readUInt32BE(PCR_OFFSET)
}
