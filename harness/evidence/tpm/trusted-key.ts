/** Why an attestation key is trusted: the caller knows it, or an authority that the caller trusts certified it. */
import { VerifyError } from '../../base/errors.ts'
import { nameText } from '../../formats/x509.ts'
import { trustAnchor, type VerifiedChain } from '../certificates/chain.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import type { VerifyRequest } from '../request.ts'
import { parseCredentialRecord, verifyActivated } from './activation.ts'
import { verifyTpmKeyCertificate } from './key-certificate.ts'
import type { AttestationKey } from './quote.ts'
import { readAttestationKey } from './quote-file.ts'

/** An attestation key, and why it counts. `ekName`: TPM 2.0 Part 1, "Names". */
export interface TrustedAk {
  readonly key: AttestationKey
  /** For people, as the subject of "signed". */
  readonly from: string
  readonly chain?: VerifiedChain
  /** Of the TPM that proved to hold the AK: 34 bytes with SHA-256. */
  readonly ekName?: Uint8Array
}

type AkRequest = Pick<
  VerifyRequest,
  'ak' | 'akRoots' | 'credential' | 'activated' | 'certificates' | 'crls' | 'at'
>

/**
 * Undefined where no AK was given. With a credential the AK must be in the TPM that opened it. With roots `ak` must be
 * a certificate for a TPM's attestation key (TCG tcg-kp-AIKCertificate) with a path to one of them through
 * `certificates`; a list of none trusts nobody. Throws FormatError, and VerifyError as verifyActivated and
 * verifyTpmKeyCertificate; `expired` and `not-yet-valid` for a certificate that is trusted itself.
 */
export function trustedAk(request: AkRequest): TrustedAk | undefined {
  const { ak, akRoots, at } = request
  if (ak === undefined) return undefined
  if (request.credential !== undefined || request.activated !== undefined) return activated(ak, request)
  if (akRoots !== undefined) return certified(ak, { ...request, akRoots })
  return { key: readAttestationKey(ak, at), from: 'the attestation key that was given' }
}

/** Whose EK it is was the caller's to know when the credential was made. */
function activated(ak: Uint8Array, { credential, activated, akRoots, at }: Omit<AkRequest, 'ak'>): TrustedAk {
  if (credential === undefined || activated === undefined || akRoots !== undefined)
    throw new VerifyError('cannot bind the AK to an EK: a credential and what came back belong together', {
      code: 'endorsement-missing',
      expected:
        'the record of a credential and the secret returned (--credential, --activated), no --ak-root',
      got: akRoots ? 'roots for an AK certificate, too' : credential ? 'only the record' : 'only the secret',
    })
  const record = parseCredentialRecord(credential)
  const key = readAttestationKey(ak, at)
  verifyActivated(record, { ak: key, returned: activated })
  const { ekName } = record
  const from = `a key that the TPM with the EK ${Buffer.from(ekName).toString('hex')} proved to hold`
  return { key, from, ekName }
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
