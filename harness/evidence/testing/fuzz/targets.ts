/**
 * What is fuzzed: every kind of evidence and every endorsement, each through the steps of the command line. Nothing but
 * an examination may come back, and what was signed may not have changed where it says authentic.
 */
import { vector, vectorsMissing } from '../../../base/testing/vectors.ts'
import { EV } from '../../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../../formats/event-log/parse.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../../formats/snp/certificate-table.ts'
import { SNP_SIGNED_BYTES } from '../../../formats/snp/report.ts'
import { parseTdxQuote } from '../../../formats/tdx/quote.ts'
import { readEndorsementFiles } from '../../endorsements.ts'
import { eventLogSteps } from '../../event-log/examine.ts'
import { examine, findingOf, type Steps } from '../../examination.ts'
import type { VerifyRequest } from '../../request.ts'
import { snpSteps } from '../../snp/examine.ts'
import { parseTdxCollateral } from '../../tdx/collateral.ts'
import { tdxSteps } from '../../tdx/examine.ts'
import { encodeCredentialRecord, parseCredentialRecord } from '../../tpm/activation.ts'
import { tpmSteps } from '../../tpm/examine.ts'
import { readAttestationKey, readTpmEvidence } from '../../tpm/quote-file.ts'
import { unwrap } from '../../unwrap.ts'
import { hclSteps } from '../../vtpm/examine.ts'
import { emulatedAkArea, logRequest, snpRequest, tdxRequest, tpmRequest } from '../emulated-requests.ts'
import { hclRequest } from '../hcl-report.ts'
import { ukiBoot } from '../measured-boot.ts'
import { carriedTargets } from './carried.ts'
import type { FuzzTarget } from './engine.ts'
import { evidenceTarget, MAX_BYTES, sameAs } from './evidence-target.ts'
import { lyingLogTargets } from './lying-logs.ts'

/** A parser alone: it answers, or says which field is wrong. */
function parserTarget(
  name: string,
  seeds: readonly Uint8Array[],
  parse: (input: Uint8Array) => unknown,
): FuzzTarget {
  return {
    ...{ name, seeds, maxBytes: MAX_BYTES },
    run: (input) => {
      try {
        parse(input)
      } catch (error) {
        // Throws on what is neither FormatError nor VerifyError.
        findingOf(error)
      }
    },
  }
}

export function fuzzTargets(): readonly FuzzTarget[] {
  return [
    ...snpTargets(),
    ...tdxTargets(),
    ...measuredBootTargets(),
    ...lyingLogTargets(),
    ...carriedTargets(),
    ...recordedTargets(),
  ]
}

function snpTargets(): readonly FuzzTarget[] {
  const request = snpRequest()
  const [root = new Uint8Array(), intermediate = new Uint8Array(), leaf = new Uint8Array()] =
    request.certificates
  const table = encodeCertificateTable([
    { guid: CERTIFICATE_GUIDS.ark, bytes: root },
    { guid: CERTIFICATE_GUIDS.ask, bytes: intermediate },
    { guid: CERTIFICATE_GUIDS.vcek, bytes: leaf },
  ])
  const extended = Buffer.concat([request.evidence, table])
  const reports = [request.evidence, extended, snpRequest({ claims: { version: 5 } }).evidence]
  const withCertificate = (replaced: Uint8Array) => (input: Uint8Array) =>
    examine(
      snpSteps(request.evidence, {
        ...request,
        certificates: request.certificates.map((each) => (each === replaced ? input : each)),
      }),
    )
  const tbsOf = (input: Uint8Array) =>
    readEndorsementFiles({ certificates: [input], crls: [] })
      .certificates.map(({ tbs }) => Buffer.from(tbs).toString('hex'))
      .join()
  return [
    evidenceTarget('SNP report', reports, {
      run: (input) => examine(snpSteps(input, request)),
      isGenuine: sameAs(reports, (input) => input.subarray(0, SNP_SIGNED_BYTES)),
    }),
    evidenceTarget('VCEK certificate', [leaf], {
      run: withCertificate(leaf),
      isGenuine: sameAs([leaf], tbsOf),
    }),
    evidenceTarget('ASK certificate', [intermediate], {
      run: withCertificate(intermediate),
      isGenuine: sameAs([intermediate], tbsOf),
    }),
    evidenceTarget('certificate table', [table], {
      run: (input) => examine(snpSteps(request.evidence, { ...request, certificates: [input, root] })),
      // Whatever the table says, the report is the same: only crashes can be found.
      isGenuine: () => true,
    }),
  ]
}

function tdxTargets(): readonly FuzzTarget[] {
  const request = tdxRequest()
  const seeds = [request.evidence, tdxRequest({ quote: { version: 5 } }).evidence]
  const known = request.collateral
  return [
    evidenceTarget('TDX quote', seeds, {
      run: (input) => examine(tdxSteps(input, request)),
      isGenuine: sameAs(seeds, (input) => parseTdxQuote(input).signedBytes),
    }),
    ...known.map((file, index) =>
      evidenceTarget(`TDX collateral ${index + 1}`, [file], {
        run: (input) => {
          const collateral = known.map((each) => (each === file ? input : each))
          const { acceptable } = examine(tdxSteps(request.evidence, { ...request, collateral }))
          // Without this file the quote is authentic all the same; the file counts where the quote is acceptable.
          return { authentic: acceptable, acceptable }
        },
        isGenuine: hasWhatCounts(file),
      }),
    ),
  ]
}

/** Whether what counts of a file is all there: documents, lists, the certificate that signed; others are ignored. */
function hasWhatCounts(file: Uint8Array): (input: Uint8Array) => boolean {
  const counting = (input: Uint8Array): readonly string[] => {
    const { tcbInfos, qeIdentities, certificates, crls } = parseTdxCollateral(input)
    const documents = [...tcbInfos, ...qeIdentities].map(({ signedBytes }) => signedBytes)
    const parts = [...documents, ...crls.map(({ tbs }) => tbs), ...certificates.map(({ tbs }) => tbs)]
    return parts.map((each) => Buffer.from(each).toString('hex'))
  }
  const [needed = ''] = counting(file)
  return (input) => counting(input).includes(needed)
}

function measuredBootTargets(): readonly FuzzTarget[] {
  const quote = tpmRequest()
  const log = logRequest({ events: ukiBoot('pcr') })
  const hcl = hclRequest({ events: ukiBoot('pcr'), policy: { snp: {}, hcl: {}, tpm: {}, eventLog: {} } })
  const ak = emulatedAkArea()
  const record = encodeCredentialRecord({ ek: ak, ak, secret: Buffer.alloc(32) })
  return [
    evidenceTarget('TPM quote', [quote.evidence], {
      run: (input) => examine(tpmSteps(input, quote)),
      isGenuine: sameAs([quote.evidence], (input) =>
        Buffer.concat(readTpmEvidence(input).quotes.map(({ attest }) => attest)),
      ),
    }),
    evidenceTarget('event log', [log.evidence], {
      run: (input) => examine(eventLogSteps(input, log)),
      isGenuine: explains(log.evidence),
    }),
    parserTarget('attestation key', [quote.ak ?? new Uint8Array()], (input) =>
      readAttestationKey(input, quote.at),
    ),
    evidenceTarget('event log beside an HCL report', [hcl.eventLog ?? new Uint8Array()], {
      run: (eventLog) => examine(hclSteps(hcl.evidence, { ...hcl, eventLog })),
      isGenuine: explains(hcl.eventLog ?? new Uint8Array()),
    }),
    parserTarget('credential record', [Buffer.from(record)], parseCredentialRecord),
    parserTarget('kind of evidence', [quote.evidence, log.evidence, snpRequest().evidence], (evidence) =>
      unwrap({ evidence }),
    ),
  ]
}

/** What user space extends after the log has ended: these may differ, and then nothing of them is believed. */
const MAY_DIFFER = [10, 11, 15]

/** What reached each register. */
function measured(input: Uint8Array): readonly string[] {
  const extending = parseEventLog(input).events.filter(({ type }) => type !== EV.NO_ACTION)
  return Array.from({ length: 24 }, (_, pcr) =>
    extending
      .filter(({ register }) => register === pcr)
      .flatMap(({ digests }) => digests.map(({ bytes }) => Buffer.from(bytes).toString('hex')))
      .join(),
  )
}

/** Register by register the same as the seed, or nothing at all: then nothing is said of it. */
function explains(seed: Uint8Array): (input: Uint8Array) => boolean {
  const genuine = measured(seed)
  return (input) =>
    measured(input).every((got, pcr) => got === '' || got === genuine[pcr] || MAY_DIFFER.includes(pcr))
}

/** Containers and logs of other projects, where the vectors are at hand. */
function recordedTargets(): readonly FuzzTarget[] {
  if (vectorsMissing) return []
  const nothing: VerifyRequest = { ...snpRequest(), certificates: [], policy: { hcl: {}, snp: {} } }
  const quotes = [
    'tpm/gce-cos-85-nonce9009.pb',
    'tpm/keylime_test_quote.txt',
    'azure/kinvolk_quote.bin',
    'azure/trustee_tpm_evidence.json',
  ]
  const logs = [
    'eventlog/tpm_ubuntu-1804-amd-sev.bin',
    'eventlog/ccel_ovmf.bin',
    'eventlog/legacy_sb_cert_eventlog',
    'eventlog/tpm2tools_event-sd-boot-fedora37.bin',
  ]
  const reports = [
    'azure/hcl_snp_trustee.bin',
    'azure/hcl_tdx_trustee.bin',
    'azure/az-snp-vtpm_evidence-v1.json',
  ]
  const decoded = <Parsed, Verified>(
    kind: string,
    names: readonly string[],
    steps: (input: Uint8Array) => Steps<Parsed, Verified>,
  ) =>
    parserTarget(`recorded ${kind}`, names.map(vector), (input) => {
      const made = steps(input)
      examine(made)
      made.describe(made.parse())
    })
  return [
    decoded('quotes', quotes, (input) => tpmSteps(input, nothing)),
    decoded('event logs', logs, (input) => eventLogSteps(input, nothing)),
    decoded('HCL reports', reports, (input) => hclSteps(input, nothing)),
    parserTarget('recorded report in JSON', [vector('kbs/evidence.json')], (evidence) => {
      const { kind, bytes } = unwrap({ evidence })
      if (kind === 'snp-report') examine(snpSteps(bytes, nothing))
    }),
    parserTarget('recorded collateral', [vector('tdx/v4_uptodate.collateral.json')], parseTdxCollateral),
  ]
}
