/** How a resource travels once it is released. */
import { createCipheriv, randomBytes } from 'node:crypto'
import { ByteWriter } from '../base/bytes.ts'
import { makeCredential } from '../evidence/tpm/credential.ts'
import { parseTpmPublic, tpmName } from '../formats/tpm2/public.ts'
import { writeSized } from '../formats/tpm2/sized-buffer.ts'
import { encryptTo, type JweResponse, wrappingKey } from './protocol/jwe.ts'
import { BrokerRefusal } from './refusal.ts'
import type { Delivery } from './release-policy.ts'
import type { AttestedGuest } from './tokens.ts'

/** Throws BrokerRefusal `unsupported-key`; `policy-denied` where a credential is asked for and there is no TPM. */
export function deliver(resource: Uint8Array, guest: AttestedGuest, delivery: Delivery): JweResponse {
  const key = wrappingKey(guest.teePubkey)
  if (delivery === 'direct') return encryptTo(key, resource)
  if (guest.tpm === undefined) throw new BrokerRefusal('policy-denied', 'Access denied by policy')
  return encryptTo(key, Buffer.from(JSON.stringify(sealToTpm(resource, guest.tpm))))
}

/**
 * A flattened JWE (`alg` dir, `enc` A256GCM; members base64url) whose key is the secret in a credential. Its extra members
 * are TPM structures in base64, sizes included, as tpm2-tools take them.
 */
export interface CredentialDocument {
  /** TPM2B_ID_OBJECT. */
  readonly credentialBlob: string
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: string
  readonly protected: string
  /** 12 bytes. */
  readonly iv: string
  readonly ciphertext: string
  /** 16 bytes. */
  readonly tag: string
}

const HEADER = Buffer.from(JSON.stringify({ alg: 'dir', enc: 'A256GCM' })).toString('base64url')
const SECRET_BYTES = 32

/** The secret is used for this one resource and this one answer, so it is the content key as it is. */
function sealToTpm(
  resource: Uint8Array,
  tpm: { readonly ek: Uint8Array; readonly ak: Uint8Array },
): CredentialDocument {
  const secret = randomBytes(SECRET_BYTES)
  const akName = tpmName(parseTpmPublic(tpm.ak))
  const { idObject, encryptedSecret } = makeCredential({ ek: parseTpmPublic(tpm.ek), akName, secret })
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(Buffer.from(HEADER, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(resource), cipher.final()])
  secret.fill(0)
  const sized = (bytes: Uint8Array) =>
    writeSized(new ByteWriter({ what: 'credential' }), bytes, 'credential').finish()
  return {
    credentialBlob: sized(idObject).toString('base64'),
    encryptedSecret: sized(encryptedSecret).toString('base64'),
    protected: HEADER,
    iv: iv.toString('base64url'),
    ciphertext: ciphertext.toString('base64url'),
    tag: cipher.getAuthTag().toString('base64url'),
  }
}
