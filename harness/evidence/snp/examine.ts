/** SNP reports as one kind of evidence among others. */
import { type Finding, VerifyError } from '../../base/errors.ts'
import { parseIdAuthentication, parseIdBlock } from '../../formats/snp/id-block.ts'
import { unusedLists } from '../certificates/given-lists.ts'
import { withoutNonceRule } from '../checks.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import type { Steps } from '../examination.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { plainBytes } from '../text-forms.ts'
import { svsmAttestation, verifySvsmEndorsement } from '../vtpm/svsm.ts'
import { appraiseSnpReport } from './appraise.ts'
import { describeSnpEvidence } from './describe.ts'
import { type VerifiedIdBlock, verifySnpIdBlock } from './id-block.ts'
import { parseSnpEvidence, type SnpEvidence } from './parse.ts'
import { simulatedRoots } from './simulated-roots.ts'
import type { VerifiedSnpEvidence } from './verified.ts'
import { type VerifiedSnpReport, verifySnpReport } from './verify.ts'

/** What a report is examined with. */
export type SnpRequest = Pick<
  VerifyRequest,
  'certificates' | 'crls' | 'found' | 'policy' | 'nonce' | 'at' | 'svsmManifest' | 'idBlock' | 'idAuth'
>

/** The steps for SNP reports. AMD 56860, ATTESTATION_REPORT. They throw FormatError, then VerifyError. */
export function snpSteps(bytes: Uint8Array, request: SnpRequest): Steps<SnpEvidence, VerifiedSnpEvidence> {
  return {
    kind: 'snp-report',
    parse: () => parseSnpEvidence(bytes),
    verify: (evidence) => verifyWithCompanions(evidence, request),
    appraise: (verified) => [
      ...appraiseWithCompanions(verified, request),
      ...unmetSections(request.policy, ['snp']),
    ],
    describe: ({ report }, verified) => describeSnpEvidence(report, verified),
  }
}

/** The report first: an ID block and a manifest are worth what it says of them. Throws FormatError and VerifyError. */
function verifyWithCompanions(evidence: SnpEvidence, request: SnpRequest): VerifiedSnpEvidence {
  const snp = verifySnpEvidence(evidence, request)
  const { svsmManifest, nonce = new Uint8Array() } = request
  const { reportData, vmpl } = snp.report
  const svsm =
    svsmManifest &&
    verifySvsmEndorsement(
      { ...svsmAttestation(plainBytes(svsmManifest)), nonce },
      { kind: 'snp', reportData, vmpl },
    )
  return { snp, svsm, idBlock: idBlockOf(snp, request) }
}

function idBlockOf(
  snp: VerifiedSnpReport,
  { idBlock, idAuth }: Pick<SnpRequest, 'idBlock' | 'idAuth'>,
): VerifiedIdBlock | undefined {
  if (idBlock === undefined && idAuth === undefined) return undefined
  if (idBlock === undefined || idAuth === undefined)
    throw new VerifyError('cannot verify the ID block: it and its authentication belong together', {
      code: 'endorsement-missing',
      expected: 'an ID block of 96 bytes and its authentication of 4096 (--id-block, --id-auth)',
      got: idBlock === undefined ? 'only the authentication' : 'only the ID block',
    })
  // QEMU takes both in base64, so that is how they lie on disks too.
  return verifySnpIdBlock(snp, {
    block: parseIdBlock(plainBytes(idBlock)),
    authentication: parseIdAuthentication(plainBytes(idAuth)),
  })
}

/**
 * Every finding about a report. An SVSM's is bound to the manifest and, through it, to the nonce: that was verified.
 * FormatError where a list is malformed.
 */
export function appraiseWithCompanions(
  { snp, svsm }: VerifiedSnpEvidence,
  request: SnpRequest,
): readonly Finding[] {
  if (svsm === undefined || request.nonce === undefined) return appraiseSnpEvidence(snp, request)
  return appraiseSnpEvidence(snp, { ...request, nonce: undefined, policy: withoutNonceRule(request.policy) })
}

/**
 * Every finding about a report, and about the revocation lists that were given. AMD 56860, ATTESTATION_REPORT.
 * FormatError where a list is malformed.
 */
export function appraiseSnpEvidence(
  verified: VerifiedSnpReport,
  request: Pick<VerifyRequest, 'crls' | 'policy' | 'nonce' | 'at'>,
): readonly Finding[] {
  const read = (file: Uint8Array) => readEndorsementFiles({ certificates: [], crls: [file] }).crls
  return [
    ...appraiseSnpReport(verified, request),
    ...unusedLists(request.crls, { path: verified.chain.chain.path, read }),
  ]
}

/**
 * With the certificates that came with the report, those that were given and found. Throws FormatError and VerifyError.
 * AMD 56860, 7.3; AMD 57230.
 */
export function verifySnpEvidence(
  { report, certificates, crls }: Pick<SnpEvidence, 'report' | 'certificates' | 'crls'>,
  request: Pick<VerifyRequest, 'certificates' | 'crls' | 'found' | 'policy' | 'at'>,
): VerifiedSnpReport {
  const given = readEndorsementFiles(request)
  const found = readEndorsementFiles(request.found ?? { certificates: [], crls: [] })
  const all = [...given.certificates, ...certificates, ...found.certificates]
  const endorsements = {
    certificates: all,
    crls: [...given.crls, ...crls, ...found.crls],
    roots: simulatedRoots(all, request),
  }
  return verifySnpReport(report, endorsements, { at: request.at })
}
