/** The hardware's word in a request: what endorsements have to be found for. Nothing is verified here. */
import { parseHclReport } from '../formats/hcl-report.ts'
import { parseCertificates } from '../formats/pem.ts'
import { parseSnpReport } from '../formats/snp/report.ts'
import { parseTdxQuote, type TdxQuote } from '../formats/tdx/quote.ts'
import type { VerifyRequest } from './request.ts'
import { parseSnpEvidence, type SnpEvidence } from './snp/parse.ts'
import { bareTdxQuote, isJson, isTdxQuote, unwrap } from './unwrap.ts'
import { parseAzureEvidence } from './vtpm/azure-evidence.ts'

/**
 * A report (AMD 56860, table 23) or quote (Intel TDX DCAP Quoting Library API, "Quote Format") with the certificates
 * that came with it.
 */
export type HardwareEvidence =
  | ({ readonly kind: 'snp' } & Pick<SnpEvidence, 'report' | 'certificates' | 'crls'>)
  | { readonly kind: 'tdx'; readonly quote: TdxQuote }

/** Reports and TD quotes of the evidence and beside it, unverified; none for a TPM's. Throws FormatError. */
export function hardwareEvidence(
  request: Pick<VerifyRequest, 'evidence' | 'kind' | 'quotes'>,
): readonly HardwareEvidence[] {
  const { kind, bytes } = unwrap(request)
  const beside = request.quotes.filter(isTdxQuote).map((file) => tdx(bareTdxQuote(file)))
  if (kind === 'snp-report') return [{ kind: 'snp', ...parseSnpEvidence(bytes) }, ...beside]
  if (kind === 'tdx-quote') return [tdx(bytes), ...beside]
  if (kind !== 'hcl-report') return beside
  const { hcl, tdQuote, vcek } = isJson(bytes)
    ? parseAzureEvidence(Buffer.from(bytes).toString('utf8'))
    : { hcl: parseHclReport(bytes), tdQuote: undefined, vcek: undefined }
  return [
    ...(hcl.hardware === 'snp' ? [snp(hcl.hardwareReport, vcek)] : []),
    ...(tdQuote ? [tdx(tdQuote)] : []),
    ...beside,
  ]
}

const snp = (report: Uint8Array, vcek: Uint8Array | undefined): HardwareEvidence => ({
  ...{ kind: 'snp', report: parseSnpReport(report), crls: [] },
  certificates: vcek ? parseCertificates(vcek) : [],
})
const tdx = (bytes: Uint8Array): HardwareEvidence => ({ kind: 'tdx', quote: parseTdxQuote(bytes) })
