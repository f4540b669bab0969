/** An ID block whose keys signed, and what the report of a guest that was launched with it says. */
import { sign } from 'node:crypto'
import { digest } from '../../base/digest.ts'
import { encodeEcdsaPublicKey } from '../../formats/snp/ecdsa.ts'
import { decodeGuestPolicy } from '../../formats/snp/flags.ts'
import { encodeIdBlock, type SnpIdAuthentication, type SnpIdBlock } from '../../formats/snp/id-block.ts'
import { ecKeyPair, type KeyPair } from './pki.ts'
import type { SnpClaims } from './snp-signer.ts'

export const ID_KEY = ecKeyPair('P-384')
export const AUTHOR_KEY = ecKeyPair('P-384')

/** As the ABI writes it. */
export function abiKey({ publicKey }: KeyPair): SnpIdAuthentication['idKey'] {
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') }
  return { ...point, raw: encodeEcdsaPublicKey(point) }
}

export function abiSignature({ privateKey }: KeyPair, data: Uint8Array): SnpIdAuthentication['idSignature'] {
  const signature = sign('sha384', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return { r: signature.subarray(0, 48), s: signature.subarray(48) }
}

export const ID_BLOCK: Omit<SnpIdBlock, 'raw'> = {
  ...{ launchDigest: Buffer.alloc(48, 1), familyId: Buffer.alloc(16, 2), imageId: Buffer.alloc(16, 3) },
  ...{ guestSvn: 4, policy: 0x30000n },
}

/** Of a report whose guest was launched with `ID_BLOCK` by both keys. */
export function boundClaims(): SnpClaims {
  return {
    ...{ measurement: ID_BLOCK.launchDigest, familyId: ID_BLOCK.familyId, imageId: ID_BLOCK.imageId },
    ...{ guestSvn: ID_BLOCK.guestSvn, policy: decodeGuestPolicy(ID_BLOCK.policy) },
    idKeyDigest: digest('sha384', abiKey(ID_KEY).raw),
    authorKeyDigest: digest('sha384', abiKey(AUTHOR_KEY).raw),
    keyInfo: { authorKeyEnabled: true },
  }
}

export interface IdBlockCase {
  readonly block: Omit<SnpIdBlock, 'raw'>
  readonly authentication: SnpIdAuthentication
  readonly claims: SnpClaims
}

export function idBlockCase(): IdBlockCase {
  const idKey = abiKey(ID_KEY)
  return {
    block: ID_BLOCK,
    authentication: {
      ...{ idSignature: abiSignature(ID_KEY, encodeIdBlock(ID_BLOCK)), idKey },
      author: { signature: abiSignature(AUTHOR_KEY, idKey.raw), key: abiKey(AUTHOR_KEY) },
    },
    claims: boundClaims(),
  }
}
