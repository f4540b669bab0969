/**
 * The whole of a guest over an SVSM: its report, the EK that the manifest names, the credential that binds an AK to
 * that EK, the vTPM's quotes by this AK, and the log that they cover.
 */
import { equalBytes } from '../../base/digest.ts'
import { type Finding, VerifyError } from '../../base/errors.ts'
import { appraiseEventLog } from '../event-log/appraise.ts'
import type { CoveredEventLog, ParsedEventLog } from '../event-log/covered.ts'
import { describeEventLog, explained } from '../event-log/describe.ts'
import type { Decoded, Steps } from '../examination.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { describeSnpEvidence } from '../snp/describe.ts'
import { appraiseWithCompanions, snpSteps } from '../snp/examine.ts'
import type { SnpEvidence } from '../snp/parse.ts'
import type { VerifiedSnpEvidence } from '../snp/verified.ts'
import { appraiseTpmQuotes } from '../tpm/appraise.ts'
import { describeTpmQuotes } from '../tpm/describe.ts'
import { joinedQuotes, parseTpmQuotes, verifyTpmQuotes } from '../tpm/examine.ts'
import { type TrustedAk, trustedAk } from '../tpm/trusted-key.ts'
import type { ParsedTpmQuotes, VerifiedTpmQuotes } from '../tpm/verified.ts'
import { parseVtpmLog, verifyVtpmLog } from './examine.ts'
import { bindingMismatch } from './hardware-report.ts'

/**
 * A report and the files of its vTPM, parsed; nothing of it is believed. AMD 56860, table 23; TPM 2.0 Part 3,
 * TPM2_Quote.
 */
export interface ParsedSvsmGuest {
  readonly snp: SnpEvidence
  readonly quotes: readonly ParsedTpmQuotes[]
  readonly log: ParsedEventLog | undefined
}

/** A vTPM whose EK the hardware vouches for (AMD 58019, 7), an AK in it, and what that AK signed. */
export interface VerifiedSvsmGuest {
  readonly evidence: VerifiedSnpEvidence
  readonly quotes: VerifiedTpmQuotes
  readonly log: CoveredEventLog | undefined
}

/**
 * The steps for an SNP report (AMD 56860) with an SVSM's manifest (AMD 58019, 7) and quotes of the vTPM it names. They
 * throw FormatError, then VerifyError.
 */
export function svsmSteps(
  bytes: Uint8Array,
  request: VerifyRequest,
): Steps<ParsedSvsmGuest, VerifiedSvsmGuest> {
  const ofReport = snpSteps(bytes, request)
  return {
    kind: 'snp-report',
    parse: () => {
      const log = parseVtpmLog(request)
      const files = [...request.quotes, ...(log?.carriedQuotes ?? [])]
      return { snp: ofReport.parse(), quotes: files.map((file) => parseTpmQuotes(file, request)), log }
    },
    verify: ({ snp, quotes, log }) => {
      const evidence = ofReport.verify(snp)
      const verified = verifyQuotes(quotes, { evidence, request })
      return {
        evidence: { ...evidence, akBound: true },
        quotes: verified,
        log: verifyVtpmLog({ log }, { request, quotes: verified }),
      }
    },
    appraise: (verified) => appraiseGuest(verified, request),
    describe: describeGuest,
  }
}

/** Hardware, EK, AK, quotes: each is worth what the one before says of it. Throws VerifyError. */
function verifyQuotes(
  files: readonly ParsedTpmQuotes[],
  { evidence, request }: { readonly evidence: VerifiedSnpEvidence; readonly request: VerifyRequest },
): VerifiedTpmQuotes {
  if (files.length === 0)
    throw new VerifyError("cannot verify the vTPM's event log: no quote covers its registers", {
      code: 'endorsement-missing',
      expected: 'a TPM quote with its PCR values (--quote)',
      got: 'none',
    })
  const trusted = trustedAk(request)
  mustBeInVtpm(trusted, evidence)
  return verifyTpmQuotes(joinedQuotes(files), request, trusted)
}

/** An AK that the caller or an authority vouches for may be any TPM's: only the EK of the manifest is this guest's. */
function mustBeInVtpm(trusted: TrustedAk | undefined, { svsm }: VerifiedSnpEvidence): void {
  const ekName = trusted?.ekName
  if (ekName === undefined)
    throw new VerifyError(
      "cannot trust the vTPM's quote: nothing shows that its AK is in the vTPM of the SVSM",
      {
        code: 'endorsement-missing',
        expected:
          'an AK with a credential for the EK that the manifest names (--ak, --credential, --activated)',
        got: trusted ? 'an AK without one' : 'none',
      },
    )
  if (svsm && equalBytes(ekName, svsm.ekName)) return
  throw bindingMismatch('the credential was made for the EK of another TPM than the SVSM names', {
    expected: svsm ? Buffer.from(svsm.ekName).toString('hex') : 'an SVSM',
    got: Buffer.from(ekName).toString('hex'),
  })
}

function appraiseGuest(
  { evidence, quotes, log }: VerifiedSvsmGuest,
  request: VerifyRequest,
): readonly Finding[] {
  const { policy } = request
  return [
    ...appraiseWithCompanions(evidence, request),
    // A quote that the policy does not speak of keeps the strict defaults all the same.
    ...appraiseTpmQuotes(quotes, { ...request, policy: { ...policy, tpm: policy.tpm ?? {} } }),
    ...(log ? appraiseEventLog(log, request) : []),
    ...unmetSections(policy, ['snp', 'tpm', ...(log ? ['eventLog' as const] : [])]),
  ]
}

function describeGuest({ snp, quotes, log }: ParsedSvsmGuest, verified?: VerifiedSvsmGuest): Decoded {
  const report = describeSnpEvidence(snp.report, verified?.evidence)
  const tpm = verified
    ? [describeTpmQuotes(verified.quotes.parsed, verified.quotes)]
    : quotes.map((file) => describeTpmQuotes(file))
  const events = log && describeEventLog(log, verified?.log)
  return {
    fields: {
      ...report.fields,
      ...(verified && { tpm: tpm[0]?.fields ?? {} }),
      ...(events && { event_log: events.fields }),
    },
    page: {
      ...report.page,
      says: [report, ...tpm, ...(events ? [events] : [])].flatMap(({ page }) => page.says),
      vouchedBy: verified
        ? [
            ...report.page.vouchedBy,
            ...(tpm[0]?.page.vouchedBy ?? []),
            ...(verified.log ? explained(verified.log) : []),
          ]
        : [],
    },
  }
}
