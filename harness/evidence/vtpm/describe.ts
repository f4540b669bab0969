/** An HCL report for people and for JSON. */
import { sha256Hex } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseAttest } from '../../formats/tpm2/attest.ts'
import { describeEventLog, explained } from '../event-log/describe.ts'
import type { Decoded, Fields, FieldValue } from '../examination.ts'
import { hexOrZeros, holds, type PageRow, row } from '../page.ts'
import { describeSnpReport } from '../snp/describe.ts'
import { describeTdxQuote } from '../tdx/describe.ts'
import { describeTpmQuotes } from '../tpm/describe.ts'
import { type HclRuntimeData, parseRuntimeData } from './hcl.ts'
import type { ParsedHcl, VerifiedHcl } from './verified.ts'

/**
 * Keys as SHA-256 of their SubjectPublicKeyInfo in hex; claims escaped. Never throws; what is malformed is left out.
 * Microsoft, "Guest attestation for confidential VMs".
 */
export function describeHclReport(parsed: ParsedHcl, verified?: VerifiedHcl): Decoded {
  const { hcl } = parsed
  const runtime = verified?.endorsement ?? attempt(() => parseRuntimeData(hcl))
  const hardware = describeHardware(parsed, verified)
  const quotes = describeQuotes(parsed, verified)
  const log = parsed.log && describeEventLog(parsed.log, verified?.log)
  return {
    fields: {
      version: hcl.version,
      report_type: hcl.hardware.toUpperCase(),
      report_data_hash_type: hcl.hash.replace('sha', 'SHA-'),
      variable_data_size: hcl.runtimeData.length,
      variable_data_sha256: sha256Hex(hcl.runtimeData),
      ...(runtime && runtimeFields(runtime)),
      ...(hardware && { [verified?.hardware.kind === 'tdx' ? 'tdx' : 'snp']: hardware.fields }),
      ...(quotes && { tpm: quotes.fields }),
      ...(log && { event_log: log.fields }),
    },
    page: {
      title: `HCL report, version ${hcl.version}, of a paravisor on ${hcl.hardware.toUpperCase()}`,
      says: [
        {
          title: 'The vTPM and its VM',
          rows: runtime ? runtimeRows(runtime) : [row('runtime data', 'malformed')],
        },
        ...(hardware?.page.says ?? []),
        ...(quotes?.page.says ?? []),
        ...(log?.page.says ?? []),
      ],
      vouchedBy: verified
        ? [
            ...(hardware?.page.vouchedBy ?? []),
            holds(`REPORT_DATA is the ${hcl.hash} digest of the runtime data with the vTPM's keys`),
            ...(quotes?.page.vouchedBy ?? []),
            ...(verified.log ? explained(verified.log) : []),
          ]
        : [],
    },
  }
}

function describeHardware({ hcl }: ParsedHcl, verified: VerifiedHcl | undefined): Decoded | undefined {
  const hardware = verified?.hardware
  if (hardware?.kind === 'snp') return describeSnpReport(hardware.snp.report, hardware.snp)
  if (hardware?.kind === 'tdx') return describeTdxQuote(hardware.tdx.quote, hardware.tdx)
  if (hcl.hardware === 'tdx') return undefined
  const report = attempt(() => parseSnpReport(hcl.hardwareReport))
  return report && describeSnpReport(report)
}

function describeQuotes({ quote }: ParsedHcl, verified: VerifiedHcl | undefined): Decoded | undefined {
  if (verified?.quotes) return describeTpmQuotes(verified.quotes.parsed, verified.quotes)
  const attest = quote && attempt(() => parseAttest(quote.attest))
  return quote && attest && describeTpmQuotes({ quotes: [quote], attests: [attest] })
}

/** For showing: what cannot be read is left out. */
function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function keyId({ ak }: HclRuntimeData): string {
  return sha256Hex(ak.export({ format: 'der', type: 'spki' }))
}

function runtimeFields(runtime: HclRuntimeData): Fields {
  const { vmConfiguration, userData, ek } = runtime
  return {
    key_ids: ['HCLAkPub', ...(ek ? ['HCLEkPub'] : [])],
    ak: keyId(runtime),
    vm_configuration: Object.fromEntries(
      Object.entries(vmConfiguration).map(([name, value]) => [escapeControls(name), plain(value)]),
    ),
    ...(userData && { user_data: Buffer.from(userData).toString('hex') }),
  }
}

/** Text of the guest is escaped; what is nested has no meaning here and stays text. */
function plain(value: unknown): FieldValue {
  if (typeof value === 'boolean' || typeof value === 'number' || value === null) return value
  return escapeControls(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))
}

const MAX_CONFIGURATION_ROWS = 32

function runtimeRows(runtime: HclRuntimeData): readonly PageRow[] {
  const { vmConfiguration, userData, ek } = runtime
  return [
    row('attestation key', keyId(runtime), 'SHA-256 of its SubjectPublicKeyInfo'),
    row('endorsement key', ek ? sha256Hex(ek.export({ format: 'der', type: 'spki' })) : 'not named'),
    ...Object.entries(vmConfiguration)
      .slice(0, MAX_CONFIGURATION_ROWS)
      .map(([name, value]) => row(escapeControls(name), String(plain(value)))),
    ...(userData ? [row('user-data', hexOrZeros(userData))] : []),
  ]
}
