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
import type { VerifiedSnpChain } from './chain.ts'
import { describeSnpEvidence } from './describe.ts'
import { type VerifiedIdBlock, verifySnpIdBlock } from './id-block.ts'
import { parseSnpEvidence, type SnpEvidence } from './parse.ts'
import { simulatedRoots } from './simulated-roots.ts'
import type { VerifiedSnpEvidence } from './verified.ts'
import {
  type SnpEndorsements,
  type VerifiedSnpReport,
  verifySnpReport,
  verifySnpReportAside,
} from './verify.ts'

/** What a report is examined with. */
export type SnpRequest = EndorsingRequest &
  Pick<VerifyRequest, 'nonce' | 'svsmManifest' | 'idBlock' | 'idAuth'>

/** The steps for SNP reports. AMD 56860, ATTESTATION_REPORT. They throw FormatError, then VerifyError. */
export function snpSteps(bytes: Uint8Array, request: SnpRequest): Steps<SnpEvidence, VerifiedSnpEvidence> {
  return {
    kind: 'snp-report',
    parse: () => parseSnpEvidence(bytes),
    verify: (evidence) => withCompanions(verifySnpEvidence(evidence, request), request),
    verifyAside: async (evidence) => withCompanions(await verifySnpEvidenceAside(evidence, request), request),
    appraise: (verified) => [
      ...appraiseWithCompanions(verified, request),
      ...unmetSections(request.policy, ['snp']),
    ],
    describe: ({ report }, verified) => describeSnpEvidence(report, verified),
  }
}

/** The report first: an ID block and a manifest are worth what it says of them. Throws FormatError and VerifyError. */
function withCompanions(snp: VerifiedSnpReport, request: SnpRequest): VerifiedSnpEvidence {
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

/** What a report is verified with. AMD 57230. */
export type EndorsingRequest = Pick<
  VerifyRequest,
  'certificates' | 'crls' | 'found' | 'policy' | 'at' | 'snpChains'
>
type Endorsed = Pick<SnpEvidence, 'report' | 'certificates' | 'crls'>

/**
 * With the certificates that came with the report, those that were given and found. Throws FormatError and VerifyError.
 * AMD 56860, 7.3; AMD 57230.
 */
export function verifySnpEvidence(evidence: Endorsed, request: EndorsingRequest): VerifiedSnpReport {
  const { endorsements, keep } = endorsementsOf(evidence, request)
  return keep(verifySnpReport(evidence.report, endorsements, request))
}

/** The same, the report's signature in another thread. Rejects with what verifySnpEvidence throws. AMD 56860, 7.3. */
export async function verifySnpEvidenceAside(
  evidence: Endorsed,
  request: EndorsingRequest,
): Promise<VerifiedSnpReport> {
  const { endorsements, keep } = endorsementsOf(evidence, request)
  return keep(await verifySnpReportAside(evidence.report, endorsements, request))
}

interface FoundChain {
  readonly endorsements: SnpEndorsements | VerifiedSnpChain
  /** Gives back what it gets. */
  readonly keep: (verified: VerifiedSnpReport) => VerifiedSnpReport
}

function endorsementsOf(
  { report, certificates: carried, crls: carriedCrls }: Endorsed,
  request: EndorsingRequest,
): FoundChain {
  const given = readEndorsementFiles(request)
  const found = readEndorsementFiles(request.found ?? { certificates: [], crls: [] })
  const certificates = [...given.certificates, ...carried, ...found.certificates]
  const crls = [...given.crls, ...carriedCrls, ...found.crls]
  const { at, policy, snpChains } = request
  const inputs = { report, certificates, crls, simulatedRoots: policy.simulatedRoots ?? [] }
  const known = snpChains?.find(inputs, at)
  if (known) return { endorsements: known, keep: (verified) => verified }
  return {
    endorsements: { certificates, crls, roots: simulatedRoots(certificates, request) },
    keep: (verified) => {
      snpChains?.keep(inputs, verified.chain)
      return verified
    },
  }
}
