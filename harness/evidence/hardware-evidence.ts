/** The hardware's word in a request: what endorsements have to be found for. Nothing is verified here. */
import { parseHclReport } from '../formats/hcl-report.ts'
import { parseSnpReport, SNP_REPORT_BYTES, type SnpReport } from '../formats/snp/report.ts'
import { parseTdxQuote, type TdxQuote } from '../formats/tdx/quote.ts'
import type { VerifyRequest } from './request.ts'
import { isJson, isTdxQuote, unwrap } from './unwrap.ts'
import { parseAzureEvidence } from './vtpm/azure-evidence.ts'

export type HardwareEvidence =
  | { readonly kind: 'snp'; readonly report: SnpReport }
  | { readonly kind: 'tdx'; readonly quote: TdxQuote }

/** Reports and TD quotes of the evidence and beside it. Throws FormatError. */
export function hardwareEvidence(
  request: Pick<VerifyRequest, 'evidence' | 'kind' | 'quotes'>,
): readonly HardwareEvidence[] {
  const { kind, bytes } = unwrap(request)
  const beside = request.quotes.filter(isTdxQuote).map(tdx)
  if (kind === 'snp-report') return [snp(bytes.subarray(0, SNP_REPORT_BYTES)), ...beside]
  if (kind === 'tdx-quote') return [tdx(bytes), ...beside]
  if (kind !== 'hcl-report') return beside
  const { hcl, tdQuote } = isJson(bytes)
    ? parseAzureEvidence(Buffer.from(bytes).toString('utf8'))
    : { hcl: parseHclReport(bytes), tdQuote: undefined }
  return [
    ...(hcl.hardware === 'snp' ? [snp(hcl.hardwareReport)] : []),
    ...(tdQuote ? [tdx(tdQuote)] : []),
    ...beside,
  ]
}

const snp = (bytes: Uint8Array): HardwareEvidence => ({ kind: 'snp', report: parseSnpReport(bytes) })
const tdx = (bytes: Uint8Array): HardwareEvidence => ({ kind: 'tdx', quote: parseTdxQuote(bytes) })
