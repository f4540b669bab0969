/** When a resource is released: an appraisal policy, and what the evidence is verified with. */
import { sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import type { ResolvedPolicy } from '../evidence/policy/resolve.ts'
import type { AcceptedRoot } from './evidence/root-statement.ts'
import { canonicalJson } from './protocol/canonical-json.ts'

/** How a resource travels; both are encrypted to the guest's ephemeral key. */
export const DELIVERIES = ['direct', 'activate-credential'] as const
/**
 * `direct`: the resource itself. `activate-credential`: encrypted once more, under a key that only
 * TPM2_ActivateCredential with the EK and the AK of the evidence yields (README).
 */
export type Delivery = (typeof DELIVERIES)[number]

/** Contents of files in any form that `attestbed verify` takes. Nothing here is trusted for being here. */
export interface ReleasePolicy {
  /** What is absent has its strict default: no simulated root, no debug. May not have `reportData` or `extraData`. */
  readonly policy: ResolvedPolicy
  readonly certificates?: readonly Uint8Array[]
  readonly crls?: readonly Uint8Array[]
  readonly collateral?: readonly Uint8Array[]
  /** Default `direct`. */
  readonly delivery?: Delivery
  /** What the guest may have said of its root: one of these. Default none: it may say anything, or nothing. */
  readonly root?: readonly AcceptedRoot[]
}

/** A policy that stands for all the resources that have it. */
export interface KnownPolicy extends Required<ReleasePolicy> {
  /** SHA-256 of all that decides, 64 hex digits: what tokens and the log name. */
  readonly id: string
  /** Sorted. */
  readonly resources: readonly string[]
}

/**
 * Resources by the policy that they have; equal policies count as one and are appraised once an attestation. Throws
 * UsageError `bad-config` where a policy binds evidence to something else than the session: that is the broker's to say.
 */
export function knownPolicies(policies: ReadonlyMap<string, ReleasePolicy>): readonly KnownPolicy[] {
  const known = new Map<string, KnownPolicy>()
  for (const [resource, release] of [...policies].sort(([left], [right]) => (left < right ? -1 : 1))) {
    mustNotBind(resource, release)
    const id = policyId(release)
    const resources = [...(known.get(id)?.resources ?? []), resource]
    known.set(id, {
      certificates: [],
      crls: [],
      collateral: [],
      delivery: 'direct',
      root: [],
      ...release,
      id,
      resources,
    })
  }
  return [...known.values()]
}

function policyId(release: ReleasePolicy): string {
  const { policy, certificates = [], crls = [], collateral = [], delivery = 'direct', root = [] } = release
  const digests = (files: readonly Uint8Array[]) => files.map((file) => sha256Hex(file))
  const plain = JSON.parse(JSON.stringify(policy)) as unknown
  return sha256Hex(
    canonicalJson({
      ...{ policy: plain, delivery, certificates: digests(certificates) },
      ...(root.length > 0 && { root: JSON.parse(JSON.stringify(root)) as unknown }),
      ...{ crls: digests(crls), collateral: digests(collateral) },
    }),
  )
}

function mustNotBind(resource: string, { policy: { snp, tdx, tpm } }: ReleasePolicy): void {
  const bound = snp?.reportData ?? tdx?.reportData ?? tpm?.extraData
  if (bound === undefined) return
  throw new UsageError(
    `the policy of ${resource} says what REPORT_DATA or extraData must be: the broker binds them to the session`,
    { code: 'bad-config', hint: 'leave reportData and extraData out of release policies' },
  )
}
