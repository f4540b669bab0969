/** Additional evidence, and its part `tpm`: a quote of the guest's vTPM, and the keys behind it. See the README. */
import { z } from 'zod'
import { FormatError } from '../../base/errors.ts'
import { parseTpm2bPublic, parseTpmPublic, type TpmPublic } from '../../formats/tpm2/public.ts'
import { parseInner } from '../protocol/messages.ts'
import { BrokerRefusal } from '../refusal.ts'
import { base64Of } from './base64.ts'
import { type RootStatement, rootStatementSchema } from './root-statement.ts'

const tpmSchema = z.strictObject({
  ...{ ekPublic: z.string(), akPublic: z.string(), quote: z.string(), signature: z.string() },
  ...{ pcrs: z.string().nullish(), eventLog: z.string().nullish(), userspaceLog: z.string().nullish() },
})
const additionalSchema = z.strictObject({ root: rootStatementSchema.optional(), tpm: tpmSchema.optional() })

/** Nothing of it verified. */
export interface TpmPart {
  readonly ek: TpmPublic
  readonly ak: TpmPublic
  /** TPMS_ATTEST. */
  readonly quote: Uint8Array
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array
  /** As `tpm2_quote -o` writes them. */
  readonly pcrs: Uint8Array | undefined
  /** The firmware's log, and what systemd added. */
  readonly eventLog: Uint8Array | undefined
  readonly userspaceLog: Uint8Array | undefined
}

/** What came beside the evidence of the TEE. */
export interface AdditionalParts {
  readonly tpm: TpmPart | undefined
  readonly root: RootStatement | undefined
}

/**
 * Each part undefined where there is none. What is sent and not understood is refused: evidence that nobody looks at must
 * not look as if it had counted. Throws BrokerRefusal `malformed-request`.
 */
export function additionalParts(additionalEvidence: string): AdditionalParts {
  if (additionalEvidence === '') return { tpm: undefined, root: undefined }
  const { tpm, root } = parseInner(additionalEvidence, additionalSchema, 'additional_evidence')
  return { tpm: tpm && tpmPart(tpm), root }
}

function tpmPart(tpm: z.output<typeof tpmSchema>): TpmPart {
  const optional = (text: string | null | undefined, field: string) =>
    text ? base64Of(text, field) : undefined
  return {
    ek: publicArea(tpm.ekPublic, 'ekPublic'),
    ak: publicArea(tpm.akPublic, 'akPublic'),
    quote: base64Of(tpm.quote, 'quote'),
    signature: base64Of(tpm.signature, 'signature'),
    pcrs: optional(tpm.pcrs, 'pcrs'),
    eventLog: optional(tpm.eventLog, 'eventLog'),
    userspaceLog: optional(tpm.userspaceLog, 'userspaceLog'),
  }
}

/** TPM2B_PUBLIC as tpm2-tools write it, or TPMT_PUBLIC. */
function publicArea(text: string, field: string): TpmPublic {
  const bytes = base64Of(text, field)
  try {
    return bytes.length > 2 && bytes.readUInt16BE(0) === bytes.length - 2
      ? parseTpm2bPublic(bytes)
      : parseTpmPublic(bytes)
  } catch (cause) {
    if (cause instanceof FormatError)
      throw new BrokerRefusal('malformed-request', `${field}: ${cause.message}`, cause)
    throw cause
  }
}
