/** Certificates of a TPM's keys: TCG EK Credential Profile for TPM 2.0; TCG AK certificates of the same family. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { VerifyError } from '../../base/errors.ts'
import { publicKeyObject, type TpmPublic } from '../../formats/tpm2/public.ts'
import { type ChainRequest, type VerifiedChain, verifyChain } from '../certificates/chain.ts'

/** Extended key usages of the TCG: what the authority certified the key for. */
const PURPOSES = {
  /** tcg-kp-AIKCertificate: a restricted signing key in a TPM. */
  ak: '2.23.133.8.3',
  /** tcg-kp-EKCertificate. */
  ek: '2.23.133.8.1',
} as const

/** A certificate of a TPM's key, and whom the caller trusts to issue it. */
export interface TpmKeyCertificateRequest extends Omit<ChainRequest, 'require'> {
  readonly purpose: keyof typeof PURPOSES
  /** The public area that came beside it: must be of the certified key. Undefined: the certificate's key is used. */
  readonly key?: TpmPublic | undefined
}

/** A key, and the path that vouches for it. RFC 5280, 6.1. */
export interface CertifiedTpmKey {
  readonly key: KeyObject
  readonly chain: VerifiedChain
}

/**
 * Throws what `verifyChain` throws, `bad-certificate` where the leaf was not issued for this purpose, and
 * `binding-mismatch` where it is of another key than the one that came beside it. No manufacturer's root is pinned:
 * `anchors` are those of the verifier. TCG EK Credential Profile for TPM 2.0; RFC 5280, 6.1.
 */
export function verifyTpmKeyCertificate(request: TpmKeyCertificateRequest): CertifiedTpmKey {
  const { purpose, key: area, ...chainRequest } = request
  const chain = verifyChain({ ...chainRequest, require: { extendedKeyUsage: PURPOSES[purpose] } })
  const key = certifiedKey(chain)
  if (area && !publicKeyObject(area).equals(key))
    throw new VerifyError(
      `cannot trust the TPM's ${purpose.toUpperCase()}: its certificate is of another key`,
      {
        code: 'binding-mismatch',
        expected: hexOf(key),
        got: hexOf(publicKeyObject(area)),
      },
    )
  return { key, chain }
}

function certifiedKey({ leaf }: VerifiedChain): KeyObject {
  return createPublicKey({ key: Buffer.from(leaf.publicKey.raw), format: 'der', type: 'spki' })
}

const hexOf = (key: KeyObject): string => key.export({ format: 'der', type: 'spki' }).toString('hex')
