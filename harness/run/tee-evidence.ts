/** What an owner makes of evidence of a VM's TEE, as `attestbed verify` would. */

import type { ResolvedPolicy } from '../evidence/policy/resolve.ts'
import { type Verdict, verifyEvidence } from '../evidence/verify-evidence.ts'
import { parseTdxQuote } from '../formats/tdx/quote.ts'
import type { EndorsementFault } from '../platforms/emulated/processor.ts'
import type { TsmReport } from './collect-evidence.ts'
import { judgedPage } from './judged-page.ts'
import type { VmTee } from './tee.ts'

export interface TeeAppraisal {
  /** 64 bytes that the evidence has to be about. */
  readonly nonce: Uint8Array
  /** What the owner demands beside the strict defaults. */
  readonly policy: ResolvedPolicy
  /** `default`: the policy names no simulated root, as nobody's in production does. Absent: it names the TEE's. */
  readonly trust?: 'default'
  /** What is wrong with what the owner has of endorsements. */
  readonly endorsements?: readonly EndorsementFault[]
}

/**
 * What an owner demands of every further boot of a VM: the launch digest that it predicts from the materials; for a TD
 * also the RTMRs of this boot, which it holds for right. Throws FormatError.
 */
export async function referencePolicy(
  tee: VmTee,
  { outblob }: Pick<TsmReport, 'outblob'>,
): Promise<ResolvedPolicy> {
  const digest = await tee.expectedDigest()
  if (tee.platform !== 'tdx') return { snp: { launchDigests: [digest] } }
  const [rtmr0, rtmr1, rtmr2] = parseTdxQuote(outblob).body.rtmrs.map((value) => [
    Buffer.from(value).toString('hex'),
  ])
  return { tdx: { mrtd: [digest], ...(rtmr0 && rtmr1 && rtmr2 && { rtmr0, rtmr1, rtmr2 }) } }
}

export interface TeeVerdict {
  readonly authentic: boolean
  readonly acceptable: boolean
  /** Codes of all findings. */
  readonly findings: readonly string[]
  /** What the first finding says. */
  readonly because: string
  /** Hex: MEASUREMENT, MRTD; undefined where the evidence is not authentic. */
  readonly fields: Verdict['fields']
}

export async function verifyTeeEvidence(
  tee: VmTee,
  { outblob, auxblob }: TsmReport,
  { nonce, policy, trust, endorsements: faults = [] }: TeeAppraisal,
): Promise<TeeVerdict> {
  const { certificates, crls, collateral, simulatedRoot } = tee.endorsements(...faults)
  const named = simulatedRoot !== undefined && trust !== 'default'
  const verdict = await verifyEvidence({
    evidence: outblob,
    certificates: auxblob.length > 0 ? [...certificates, auxblob] : certificates,
    ...{ crls, collateral, quotes: [], nonce, at: new Date() },
    policy: named ? { ...policy, simulatedRoots: [simulatedRoot] } : policy,
  })
  const by = trust === 'default' ? 'by the strict defaults' : "by the owner's policy"
  tee.showEvidence(judgedPage(verdict.page, verdict, by))
  const { authentic, acceptable, findings, fields } = verdict
  const [first] = findings
  return {
    ...{ authentic, acceptable, fields },
    findings: findings.map(({ code }) => code),
    because: first ? `${first.message}: ${first.got}` : '',
  }
}
