/**
 * Keylime's quote: "r", then TPMS_ATTEST, TPMT_SIGNATURE and PCR values of tpm2-tools in base64, with colons between.
 */
import { FormatError } from '../../../base/errors.ts'
import type { TpmQuote } from '../quote.ts'
import { parseTpm2ToolsQuote } from './tpm2-tools.ts'

const MAX_CHARACTERS = 64 * 1024

/**
 * Text of at most 64 KiB, each part canonical base64. Throws FormatError, also for what a part holds. Keylime,
 * tpm_quote: "r", then message, signature and PCRs.
 */
export function parseKeylimeQuote(text: string): TpmQuote {
  if (text.length > MAX_CHARACTERS)
    throw malformed('too-large', 'quote', `has ${text.length} characters, at most ${MAX_CHARACTERS} are read`)
  const trimmed = text.trim()
  if (!trimmed.startsWith('r')) throw malformed('bad-magic', 'prefix', 'must be "r"')
  const parts = trimmed.slice(1).split(':')
  if (parts.length !== 3) throw malformed('bad-value', 'parts', `are ${parts.length}, must be 3`)
  const [attest, signature, pcrs] = parts.map((part, index) =>
    decode(part, ['quote', 'signature', 'pcrs'][index] ?? ''),
  )
  if (!attest?.length || !signature?.length || !pcrs?.length)
    throw malformed('bad-value', 'parts', 'must not be empty')
  return parseTpm2ToolsQuote({ attest, signature, pcrs })
}

function decode(text: string, field: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw malformed('bad-value', field, 'is not base64')
  return bytes
}

function malformed(code: FormatError['code'], field: string, problem: string): FormatError {
  return new FormatError(`cannot parse Keylime quote: ${field} ${problem}`, { code, field, offset: 0 })
}
