/** The resource step: may this guest have it, and in which wrapping; recorded before it leaves. */
import { keyDigest, recorded } from './attestation.ts'
import type { AuditLog, ResourceRecord } from './audit/record.ts'
import { deliver } from './delivery.ts'
import type { JweResponse } from './protocol/jwe.ts'
import { BrokerRefusal } from './refusal.ts'
import type { KnownPolicy } from './release-policy.ts'
import type { ResourceStore } from './store/resource-store.ts'
import type { AttestedGuest } from './tokens.ts'

/** What a release is decided with. */
export interface Releaser {
  readonly policies: readonly KnownPolicy[]
  readonly store: ResourceStore
  readonly audit: AuditLog
}

/** Who asks, and when; `session` where a cookie was shown. */
export interface ReleaseContext {
  readonly guest: AttestedGuest
  readonly session: string | undefined
  readonly peer: string
  readonly at: Date
}

const DENIED = 'Access denied by policy'
const NO_RESOURCE = 'there is no such resource'

/** Throws BrokerRefusal `policy-denied`, and `no-resource`, also where one has no policy: no client gets to know which. */
export async function release(
  path: string,
  context: ReleaseContext,
  { policies, store, audit }: Releaser,
): Promise<JweResponse> {
  const policy = policies.find(({ resources }) => resources.includes(path))
  const record = (outcome: Pick<ResourceRecord, 'outcome' | 'code'>) =>
    recorded(
      audit.append({
        ...recordOf(path, context),
        ...outcome,
        ...(policy && { policy: policy.id, delivery: policy.delivery }),
      }),
    )
  try {
    const answer = await wrapped(path, context.guest, { policy, store })
    await record({ outcome: 'released' })
    return answer
  } catch (error) {
    if (error instanceof BrokerRefusal && error.code !== 'not-recorded')
      await record({ outcome: 'refused', code: error.code })
    throw error
  }
}

async function wrapped(
  path: string,
  guest: AttestedGuest,
  { policy, store }: { readonly policy: KnownPolicy | undefined; readonly store: ResourceStore },
): Promise<JweResponse> {
  if (policy === undefined) throw new BrokerRefusal('no-resource', NO_RESOURCE)
  // Whether there is such a resource is told to whom the policy lets have it.
  if (!guest.accepted.includes(policy.id)) throw new BrokerRefusal('policy-denied', DENIED)
  const resource = await store.get(path)
  if (resource === undefined) throw new BrokerRefusal('no-resource', NO_RESOURCE)
  try {
    return deliver(resource, guest, policy.delivery)
  } finally {
    resource.fill(0)
  }
}

function recordOf(
  resource: string,
  { guest, session, peer, at }: ReleaseContext,
): Omit<ResourceRecord, 'outcome'> {
  return {
    ...{ event: 'resource', time: at.toISOString(), peer, token: guest.tokenId, tee: guest.tee, resource },
    ...(session !== undefined && { session }),
    teePubkey: keyDigest(guest.teePubkey),
  }
}
