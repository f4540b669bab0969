/** Why an attestation key is trusted: the caller knows it, or an authority that the caller trusts certified it. */
import { VerifyError } from '../../base/errors.ts'
import { nameText } from '../../formats/x509.ts'
import { trustAnchor, type VerifiedChain } from '../certificates/chain.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import type { VerifyRequest } from '../request.ts'
import { verifyTpmKeyCertificate } from './key-certificate.ts'
import type { AttestationKey } from './quote.ts'
import { readAttestationKey } from './quote-file.ts'

/** An attestation key, and why it counts. */
export interface TrustedAk {
  readonly key: AttestationKey
  /** For people, as the subject of "signed". */
  readonly from: string
  readonly chain?: VerifiedChain
}

type AkRequest = Pick<VerifyRequest, 'ak' | 'akRoots' | 'certificates' | 'crls' | 'at'>

/**
 * Undefined where no AK was given. With roots `ak` must be a certificate for a TPM's attestation key (TCG
 * tcg-kp-AIKCertificate) with a path to one of them through `certificates`; a list of none trusts nobody. Throws
 * FormatError, and VerifyError as verifyTpmKeyCertificate; `expired` and `not-yet-valid` for a certificate that is
 * trusted itself.
 */
export function trustedAk(request: AkRequest): TrustedAk | undefined {
  const { ak, akRoots, at } = request
  if (ak === undefined) return undefined
  if (akRoots !== undefined) return certified(ak, { ...request, akRoots })
  return { key: readAttestationKey(ak, at), from: 'the attestation key that was given' }
}

function certified(
  ak: Uint8Array,
  { akRoots, certificates, crls, at }: AkRequest & { readonly akRoots: readonly Uint8Array[] },
): TrustedAk {
  const [leaf, ...carried] = readEndorsementFiles({ certificates: [ak], crls: [] }).certificates
  if (leaf === undefined)
    throw new VerifyError('cannot trust the attestation key: an authority cannot vouch for a bare key', {
      code: 'endorsement-missing',
      expected: 'a certificate of the AK (--ak), since roots are given',
      got: 'none',
    })
  const given = readEndorsementFiles({ certificates, crls })
  const roots = readEndorsementFiles({ certificates: akRoots, crls: [] }).certificates
  const { key, chain } = verifyTpmKeyCertificate({
    ...{ leaf, at, purpose: 'ak', crls: given.crls },
    certificates: [...carried, ...given.certificates],
    anchors: roots.map((root) => trustAnchor(root, nameText(root.subject))),
  })
  return { key, chain, from: `a key that "${chain.anchor.label}" certified as a TPM's attestation key` }
}
