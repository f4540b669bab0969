/** HCL reports as one kind of evidence among others: hardware report, runtime data, the vTPM's quotes, the VM's log. */
import { type Finding, VerifyError } from '../../base/errors.ts'
import { parseHclReport } from '../../formats/hcl-report.ts'
import { parseCertificates } from '../../formats/pem.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import type { AppraisalContext } from '../appraisal.ts'
import { nonceGiven, withoutNonceRule } from '../checks.ts'
import { appraiseEventLog } from '../event-log/appraise.ts'
import type { CoveredEventLog, ParsedEventLog } from '../event-log/covered.ts'
import { coverLog, parseLogs } from '../event-log/examine.ts'
import type { Steps } from '../examination.ts'
import { finding } from '../finding.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseSnpEvidence, verifySnpEvidence } from '../snp/examine.ts'
import { appraiseTdxEvidence, verifyTdxEvidence } from '../tdx/examine.ts'
import { plainBytes } from '../text-forms.ts'
import { appraiseTpmQuotes } from '../tpm/appraise.ts'
import { joinedQuotes, parseTpmQuotes, verifyTpmQuotes } from '../tpm/examine.ts'
import type { VerifiedTpmQuotes } from '../tpm/verified.ts'
import { bareTdxQuote, isJson, isTdxQuote } from '../unwrap.ts'
import { appraiseHclClaims } from './appraise.ts'
import { parseAzureEvidence } from './azure-evidence.ts'
import { describeHclReport } from './describe.ts'
import type { EndorsingReport } from './hardware-report.ts'
import { type VtpmEndorsement, verifyHclEndorsement } from './hcl.ts'
import type { ParsedHcl, VerifiedHardware, VerifiedHcl } from './verified.ts'

/**
 * The steps for HCL reports, alone or in an Azure attester's JSON, with quotes and logs beside them. SNP: AMD 56860;
 * TDX: TDREPORT_STRUCT; the vTPM: TPM 2.0 Part 2. They throw FormatError, then VerifyError.
 */
export function hclSteps(bytes: Uint8Array, request: VerifyRequest): Steps<ParsedHcl, VerifiedHcl> {
  return {
    kind: 'hcl-report',
    parse: () => ({ ...parseReport(bytes), log: parseVtpmLog(request) }),
    verify: (parsed) => verifyHcl(parsed, request),
    appraise: (verified) => appraiseHcl(verified, request),
    describe: describeHclReport,
  }
}

function parseReport(bytes: Uint8Array): ParsedHcl {
  return isJson(bytes)
    ? parseAzureEvidence(Buffer.from(bytes).toString('utf8'))
    : { hcl: parseHclReport(bytes) }
}

/**
 * The log that belongs to a vTPM's quotes; systemd's may come without the firmware's: then it is the whole log. Throws
 * FormatError.
 */
export function parseVtpmLog(request: VerifyRequest): ParsedEventLog | undefined {
  const { eventLog, userspaceLog } = request
  if (eventLog) return parseLogs(plainBytes(eventLog), request)
  return userspaceLog && parseLogs(plainBytes(userspaceLog), {})
}

/** Hardware first: what it does not vouch for is nobody's. Throws FormatError and VerifyError. */
function verifyHcl(parsed: ParsedHcl, request: VerifyRequest): VerifiedHcl {
  const { hcl } = parsed
  refuseIdleTdQuotes(parsed, request)
  const hardware = hcl.hardware === 'snp' ? verifySnp(parsed, request) : verifyTdx(parsed, request)
  const endorsement = verifyHclEndorsement(hcl, endorsing(hardware))
  const quotes = verifyQuotes(parsed, { request, endorsement })
  return { hcl, hardware, endorsement, quotes, log: verifyVtpmLog(parsed, { request, quotes }) }
}

function verifySnp({ hcl, vcek }: ParsedHcl, request: VerifyRequest): VerifiedHardware {
  const carried = vcek ? parseCertificates(vcek) : []
  const report = parseSnpReport(hcl.hardwareReport)
  return { kind: 'snp', snp: verifySnpEvidence({ report, certificates: carried, crls: [] }, request) }
}

/** Nobody looks at a TD quote beside an SNP report, or at a second one: what is given and passed over was never verified. */
function refuseIdleTdQuotes({ hcl, tdQuote, log }: ParsedHcl, { quotes }: VerifyRequest): void {
  const given = [...quotes, ...(log?.carriedQuotes ?? [])].filter(isTdxQuote).length
  const used = hcl.hardware === 'tdx' && tdQuote === undefined ? 1 : 0
  if (given <= used) return
  const holds = hcl.hardware === 'snp' ? 'an SNP report' : tdQuote ? 'its TD quote' : 'a TDREPORT'
  throw new VerifyError(
    `cannot verify the HCL report: of ${given} TD quotes beside it ${used} would be looked at`,
    {
      ...{ code: 'binding-mismatch', expected: `${used} TD quotes (--quote), as it has ${holds}` },
      ...{ got: String(given), hint: 'leave out each --quote that is not of this VM' },
    },
  )
}

/** The TDREPORT inside is sealed for the platform alone, so the TD quote has to come beside it. */
function verifyTdx({ tdQuote }: ParsedHcl, request: VerifyRequest): VerifiedHardware {
  const beside = request.quotes.find(isTdxQuote)
  const quote = tdQuote ?? (beside && bareTdxQuote(beside))
  if (quote === undefined)
    throw new VerifyError(
      'cannot verify the HCL report: its TDREPORT proves nothing outside of the platform',
      {
        code: 'endorsement-missing',
        expected: 'the TD quote over the same REPORTDATA (--quote)',
        got: 'none',
      },
    )
  const verified = verifyTdxEvidence(parseTdxQuote(quote), request)
  return { kind: 'tdx', tdx: verified }
}

function endorsing(hardware: VerifiedHardware): EndorsingReport {
  if (hardware.kind === 'tdx') return { kind: 'tdx', reportData: hardware.tdx.quote.body.reportData }
  const { reportData, vmpl } = hardware.snp.report
  return { kind: 'snp', reportData, vmpl: vmpl === 'host' ? Number.NaN : vmpl }
}

function verifyQuotes(
  { quote: carried, log }: ParsedHcl,
  { request, endorsement }: { readonly request: VerifyRequest; readonly endorsement: VtpmEndorsement },
): VerifiedTpmQuotes | undefined {
  const given = [...request.quotes, ...(log?.carriedQuotes ?? [])]
    .filter((quote) => !isTdxQuote(quote))
    .map((quote) => parseTpmQuotes(quote, request))
  const files = [...(carried ? [{ quotes: [carried] }] : []), ...given]
  if (files.length === 0) return undefined
  return verifyTpmQuotes(joinedQuotes(files), request, {
    key: endorsement.ak,
    from: 'the attestation key that the hardware report endorses',
  })
}

/**
 * The vTPM is the one whose AK the hardware vouches for, so what its quotes cover is the log of this very VM. Throws
 * VerifyError `endorsement-missing` where there is a log and no quote, and as `coverLog`. TPM 2.0 Part 3, TPM2_Quote;
 * PFP 1.06, "Event Logging".
 */
export function verifyVtpmLog(
  { log }: Pick<ParsedHcl, 'log'>,
  { request, quotes }: { readonly request: VerifyRequest; readonly quotes: VerifiedTpmQuotes | undefined },
): CoveredEventLog | undefined {
  if (log === undefined) return undefined
  if (quotes === undefined)
    throw new VerifyError('cannot verify the event log: no quote of the vTPM covers its registers', {
      code: 'endorsement-missing',
      expected: 'a TPM quote with its PCR values (--quote)',
      got: 'none',
    })
  return coverLog(log, { kind: 'tpm', quotes }, request)
}

/** The nonce is the vTPM quote's to answer: REPORT_DATA is taken by the runtime data. */
function appraiseHcl(
  { hardware, endorsement, quotes, log }: VerifiedHcl,
  context: VerifyRequest,
): readonly Finding[] {
  const { policy, nonce } = context
  const ofHardware = { ...context, nonce: undefined, policy: withoutNonceRule(policy) }
  return [
    ...(hardware.kind === 'snp'
      ? appraiseSnpEvidence(hardware.snp, ofHardware)
      : appraiseTdxEvidence(hardware.tdx, ofHardware)),
    ...appraiseHclClaims(endorsement, { policy }),
    ...(quotes
      ? appraiseTpmQuotes(quotes, { ...context, policy: { ...policy, tpm: policy.tpm ?? {} } })
      : []),
    ...(quotes === undefined && nonce !== undefined
      ? [
          finding(
            'nonce-missing',
            'nothing in an HCL report answers a nonce, and no quote of its vTPM was given',
            {
              expected: 'a TPM quote over the nonce (--quote)',
              got: 'none',
            },
          ),
        ]
      : []),
    ...(quotes === undefined ? [...nonceGiven(context), ...unquoted(policy)] : []),
    ...(log ? appraiseEventLog(log, context) : []),
    ...unmetSections(policy, [hardware.kind, 'hcl', 'tpm', ...(log ? ['eventLog' as const] : [])]),
  ]
}

/** What a policy demands of the vTPM must not be met by leaving its quote out. */
function unquoted({ tpm = {} }: AppraisalContext['policy']): readonly Finding[] {
  const rules = Object.keys(tpm)
  if (rules.length === 0) return []
  return [
    finding('pcr-not-quoted', 'the policy has rules for TPM quotes, and no quote of the vTPM was given', {
      expected: `a TPM quote (--quote) for ${rules.join(', ')}`,
      got: 'none',
    }),
  ]
}
