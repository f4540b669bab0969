/** What evidence is bound to: a digest over nonce, key and whatever else the guest sends. */
import { digest } from '../../base/digest.ts'
import { BrokerRefusal } from '../refusal.ts'
import { canonicalJson } from './canonical-json.ts'
import { HASH_ALGORITHMS, type HashAlgorithm, type TeePubkey } from './messages.ts'

/**
 * The algorithm of a session: SHA-384 unless the client names what it can do and SHA-384 is not among it, as Trustee's
 * client negotiates it. Throws BrokerRefusal `no-common-hash`.
 */
export function chooseHash(supported: readonly string[] | undefined): HashAlgorithm {
  const chosen = HASH_ALGORITHMS.find((name) => supported === undefined || supported.includes(name))
  if (chosen) return chosen
  throw new BrokerRefusal(
    'no-common-hash',
    `none of the client's hash algorithms is one of ${HASH_ALGORITHMS.join(', ')}`,
  )
}

/** What both ends of a session know. */
export interface RuntimeData {
  readonly nonce: string
  /** All members, as the client sent them. */
  readonly teePubkey: TeePubkey
}

/** REPORT_DATA of the TEE's own evidence, before zeros fill it up: 32, 48 or 64 bytes. */
export function primaryBinding(
  { nonce, teePubkey }: RuntimeData,
  {
    algorithm,
    additionalEvidence,
  }: { readonly algorithm: HashAlgorithm; readonly additionalEvidence: string },
): Buffer {
  const covered = { 'additional-evidence': additionalEvidence, nonce, 'tee-pubkey': teePubkey }
  return digest(algorithm, canonicalJson(covered))
}

/** What additional evidence is bound to: the same without itself. Trustee: "device runtime data". */
export function additionalBinding({ nonce, teePubkey }: RuntimeData, algorithm: HashAlgorithm): Buffer {
  return digest(algorithm, canonicalJson({ nonce, 'tee-pubkey': teePubkey }))
}
