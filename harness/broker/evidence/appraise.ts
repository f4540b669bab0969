/** Evidence of one exchange held against one release policy. All findings; nothing is decided by the first. */
import type { Finding } from '../../base/errors.ts'
import { findingOf } from '../../evidence/examination.ts'
import { type PolicySection, unmetSections } from '../../evidence/policy/unmet.ts'
import type { VerifyRequest } from '../../evidence/request.ts'
import type { SnpChainMemory } from '../../evidence/snp/chain-memory.ts'
import { makeCredential } from '../../evidence/tpm/credential.ts'
import { type Verdict, verifyEvidence } from '../../evidence/verify-evidence.ts'
import { parseSnpReport, SNP_REPORT_BYTES } from '../../formats/snp/report.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import { tpmName } from '../../formats/tpm2/public.ts'
import type { KnownPolicy } from '../release-policy.ts'
import { initDataFindings } from './init-data.ts'
import type { PrimaryEvidence } from './primary-evidence.ts'
import { type RootStatement, rootFindings } from './root-statement.ts'
import type { TpmPart } from './tpm-evidence.ts'

/** What a client sent, taken apart, and what it must be bound to. */
export interface Submission {
  readonly primary: PrimaryEvidence
  readonly tpm: TpmPart | undefined
  readonly root: RootStatement | undefined
  /** REPORT_DATA without its zeros. */
  readonly primaryBinding: Uint8Array
  /** The quote's qualifying data. */
  readonly additionalBinding: Uint8Array
  /** What HOST_DATA or MRCONFIGID must hold; undefined where no init data came. */
  readonly initData: Uint8Array | undefined
  readonly at: Date
}

/** What came of it. */
export interface PolicyVerdict {
  readonly policy: KnownPolicy
  /** Of the TEE's evidence and, where there is one, of the TPM's. */
  readonly authentic: boolean
  readonly acceptable: boolean
  readonly findings: readonly Finding[]
  /** What the TEE's evidence says, by the vendor's names. */
  readonly fields: Verdict['fields']
}

/** Never throws for what the evidence is. */
export async function appraise(
  submission: Submission,
  known: KnownPolicy,
  snpChains?: SnpChainMemory,
): Promise<PolicyVerdict> {
  const primary = await verifyEvidence({ ...primaryRequest(submission, known), snpChains })
  const tpm = submission.tpm && (await verifyEvidence(tpmRequest(submission, submission.tpm, known)))
  const verdicts = tpm ? [primary, tpm] : [primary]
  const authentic = verdicts.every((verdict) => verdict.authentic)
  const findings = [
    ...verdicts.flatMap((verdict) => verdict.findings),
    // What is not authentic binds nothing.
    ...(authentic ? bindingFindings(submission, known) : []),
  ]
  return {
    policy: known,
    authentic,
    acceptable: authentic && findings.length === 0,
    findings,
    fields: primary.fields,
  }
}

const EMPTY = { certificates: [], crls: [], collateral: [], quotes: [] } as const

/** The section of the TEE, and of the log where the TEE's own registers cover one. */
function primaryRequest({ primary, primaryBinding, at }: Submission, known: KnownPolicy): VerifyRequest {
  const { certificates, crls, collateral } = known
  const { tpm: _, hcl: __, eventLog, ...policy } = known.policy
  // Zeros fill the register up, and they are compared, too.
  const nonce = Buffer.alloc(64)
  nonce.set(primaryBinding)
  const common = { certificates, crls, collateral, nonce, at }
  const { kind, bytes } = primary
  if (primary.eventLog === undefined || eventLog === undefined)
    return { ...common, quotes: [], evidence: bytes, kind, policy }
  const withLog = { ...policy, eventLog }
  return { ...common, quotes: [bytes], evidence: primary.eventLog, kind: 'event-log', policy: withLog }
}

/**
 * The AK is taken at the guest's word here: the TEE's report covers it. Whether EK and AK are one TPM's is shown by a
 * credential, or never.
 */
function tpmRequest(
  { additionalBinding, at, primary }: Submission,
  part: TpmPart,
  known: KnownPolicy,
): VerifyRequest {
  const { quote, signature, pcrs, eventLog, userspaceLog, ak } = part
  const { tpm = {}, eventLog: logPolicy, freshness } = known.policy
  const common = { ...EMPTY, nonce: additionalBinding, at, ak: ak.bytes, signature, pcrs }
  const policy = { tpm, ...(freshness && { freshness }) }
  const coversLog = logPolicy !== undefined && primary.eventLog === undefined && eventLog !== undefined
  if (!coversLog) return { ...common, evidence: quote, kind: 'tpm-quote', policy }
  const request = { ...common, evidence: eventLog, kind: 'event-log', quotes: [quote], userspaceLog } as const
  return { ...request, policy: { ...policy, eventLog: logPolicy } }
}

function bindingFindings(
  { primary, tpm, root, initData }: Submission,
  known: KnownPolicy,
): readonly Finding[] {
  const appraised: PolicySection[] = [primary.section]
  if (tpm) appraised.push('tpm')
  if (primary.eventLog ?? tpm?.eventLog) appraised.push('eventLog')
  // What is asked of the hardware was held against it with its evidence.
  const { snp: _, tdx: __, ...beside } = known.policy
  return [
    ...unmetSections(beside, appraised),
    ...(initData ? initDataFindings(initData, initDataRegister(primary)) : []),
    ...rootFindings(root, known.root),
    ...(known.delivery === 'activate-credential' ? credentialFindings(tpm) : []),
  ]
}

/** Whether a credential can be made for these keys: asked now, so that a release does not come to find that it cannot. */
function credentialFindings(tpm: TpmPart | undefined): readonly Finding[] {
  if (tpm === undefined) return [NO_TPM]
  const { ek, ak } = tpm
  if ((ek.nameAlgorithm.bank ?? 'sha1') === 'sha1') return [WEAK_EK]
  try {
    makeCredential({ ek, akName: tpmName(ak), secret: new Uint8Array(SECRET_BYTES) })
    return []
  } catch (error) {
    return [findingOf(error)]
  }
}

const SECRET_BYTES = 32
const WEAK_EK: Finding = {
  code: 'endorsement-key',
  message: 'the endorsement key names objects by a digest that is shorter than the secret of a credential',
  ...{ expected: 'nameAlg sha256, sha384 or sha512', got: 'another' },
}
const NO_TPM: Finding = {
  code: 'evidence-missing',
  message: 'the resource is delivered to a TPM, and no evidence of one came',
  ...{ expected: 'a part tpm in additional_evidence', got: 'none' },
}

/** Only of evidence that was found authentic, so that it parses. */
function initDataRegister({ section, bytes }: PrimaryEvidence): Uint8Array {
  if (section === 'snp') return parseSnpReport(bytes.subarray(0, SNP_REPORT_BYTES)).hostData
  return parseTdxQuote(bytes).body.mrConfigId
}
