/** The prediction of a measured boot as a document. */
import type { DigestAlgorithm } from '../../base/digest.ts'
import type { TpmPrediction } from '../tpm/boot.ts'
import { eventDigest } from '../tpm/event.ts'
import type { InputName, MeasuredDocument, MeasuredEvent } from './document.ts'

/** A register that cannot be predicted, and what would have to be known for it. */
export interface UnknownRegister {
  readonly register: string
  readonly reasons: readonly string[]
}

export interface TpmDocument extends MeasuredDocument {
  readonly pcrs: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly events: readonly MeasuredEvent[]
  readonly unknown: readonly UnknownRegister[]
  /** Why the firmware will not run the UKI. */
  readonly refused?: string
}

/**
 * Registers that are known, of each bank; the rest under `unknown` with the reason. An event that is not known has no
 * digests, and its description says why.
 */
export function tpmDocument(
  prediction: TpmPrediction,
  options: {
    readonly banks: readonly DigestAlgorithm[]
    readonly inputs: Readonly<Partial<Record<InputName, string>>>
  },
): TpmDocument {
  const { banks, inputs } = options
  const registers = banks.map((bank) => [bank, prediction.registers(bank)] as const)
  const [first] = registers
  return {
    ...{ kind: 'prediction', inputs },
    pcrs: Object.fromEntries(
      registers.map(([bank, all]) => [
        bank,
        Object.fromEntries(
          all.flatMap((each) => (each.known ? [[String(each.index), each.value.toString('hex')]] : [])),
        ),
      ]),
    ),
    unknown: (first?.[1] ?? []).flatMap((each) =>
      each.known ? [] : [{ register: `pcr${each.index}`, reasons: each.reasons }],
    ),
    ...(prediction.refused !== undefined && { refused: prediction.refused }),
    events: prediction.events.map((event) => ({
      ...{ register: `pcr${event.pcr}`, type: event.type },
      description: event.content.known ? event.what : `${event.what}: not known, ${event.content.reason}`,
      digests: Object.fromEntries(
        banks.flatMap((bank) => {
          const digest = eventDigest(event, bank)
          return digest ? [[bank, digest.toString('hex')]] : []
        }),
      ),
    })),
  }
}
