/** What an owner makes of evidence of a VM's TEE, as `attestbed verify` would. */

import type { ResolvedPolicy } from '../evidence/policy/resolve.ts'
import { type Verdict, verifyEvidence } from '../evidence/verify-evidence.ts'
import type { EndorsementFault } from '../platforms/emulated/processor.ts'
import type { TsmReport } from './collect-evidence.ts'
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
  const { authentic, acceptable, findings, fields } = verdict
  const [first] = findings
  return {
    ...{ authentic, acceptable, fields },
    findings: findings.map(({ code }) => code),
    because: first ? `${first.message}: ${first.got}` : '',
  }
}
