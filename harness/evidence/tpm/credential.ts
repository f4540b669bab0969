/**
 * Binds an AK to an EK: a secret that only the TPM with this EK, holding a key of this name, can open.
 * TPM 2.0 Part 1, "Credential Protection", and "Secret Sharing" of its annexes on RSA and on ECC.
 */
import {
  constants,
  createCipheriv,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { ByteWriter } from '../../base/bytes.ts'
import { DIGEST_LENGTHS, type DigestAlgorithm, digest, equalBytes } from '../../base/digest.ts'
import { VerifyError } from '../../base/errors.ts'
import type { Credential } from '../../formats/tpm2/credential.ts'
import { ECC_CURVES, type KeyMaterial, publicKeyObject, type TpmPublic } from '../../formats/tpm2/public.ts'
import { writeSized } from '../../formats/tpm2/sized-buffer.ts'
import { kdfa, kdfe } from './kdf.ts'

const LABEL = 'IDENTITY'
const AES = 0x0006
const CFB = 0x0043

/** Inputs of TPM2_MakeCredential: TPM 2.0 Part 3, TPM2_MakeCredential. */
export interface CredentialRequest {
  /** The endorsement key: a restricted decryption key, from an EK certificate or an endorsed manifest. */
  readonly ek: TpmPublic
  /** Of the attestation key: `tpmName`. 34 bytes with SHA-256. */
  readonly akName: Uint8Array
  /** What TPM2_ActivateCredential returns: at most as long as the EK's name algorithm's digest. */
  readonly secret: Uint8Array
}

/**
 * TPM2_MakeCredential (TPM 2.0 Part 3) in software; `secret` is at most as long as the digest of the EK's nameAlg (32
 * bytes of SHA-256). Throws VerifyError `bad-signing-key` where the key cannot be an EK (one that decrypts anything it
 * is given proves nothing), FormatError where its numbers are no key, RangeError for a secret too long. TPM 2.0 Part 1,
 * "Credential Protection".
 */
export function makeCredential({ ek, akName, secret }: CredentialRequest): Credential {
  const hash = mustBeEk(ek)
  if (secret.length > DIGEST_LENGTHS[hash])
    throw new RangeError(`the secret has ${secret.length} bytes, at most ${DIGEST_LENGTHS[hash]} are allowed`)
  const { seed, encryptedSecret } = shareSeed(ek, hash)
  return { idObject: protect({ ek, hash, seed, akName, secret }), encryptedSecret }
}

/** Throws VerifyError `bad-credential` where the guest did not return the secret: its AK is not in the EK's TPM. */
export function verifyActivation(secret: Uint8Array, returned: Uint8Array): void {
  if (equalBytes(secret, returned)) return
  throw new VerifyError(
    'cannot bind the AK to the EK: the secret that came back is not the one in the credential',
    {
      code: 'bad-credential',
      // The secret itself may still be in use: only digests are shown.
      expected: `SHA-256 ${digest('sha256', secret).toString('hex')}`,
      got: `SHA-256 ${digest('sha256', returned).toString('hex')}`,
    },
  )
}

/** A restricted decryption key that never leaves its TPM, with AES-CFB inside: TCG EK Credential Profile, templates. */
function mustBeEk({ attributes, symmetric, nameAlgorithm }: TpmPublic): DigestAlgorithm {
  const { fixedTpm, restricted, decrypt, sign } = attributes
  const usable =
    symmetric?.algorithm === AES && symmetric.mode === CFB && [128, 192, 256].includes(symmetric.keyBits)
  if (fixedTpm && restricted && decrypt && !sign && usable && nameAlgorithm.bank) return nameAlgorithm.bank
  const set = Object.entries(attributes).flatMap(([name, value]) => (value ? [name] : []))
  throw new VerifyError('cannot make a credential for this key: it is no endorsement key', {
    code: 'bad-signing-key',
    expected: 'fixedTPM, restricted, decrypt, not sign; AES in CFB mode',
    got: `${set.join(', ') || 'no attributes'}; symmetric ${symmetric ? `0x${symmetric.algorithm.toString(16)}` : 'none'}`,
  })
}

interface SharedSeed {
  readonly seed: Buffer
  readonly encryptedSecret: Buffer
}

function shareSeed(ek: TpmPublic, hash: DigestAlgorithm): SharedSeed {
  const key = publicKeyObject(ek)
  return ek.key.kind === 'rsa' ? seedByOaep(key, hash) : seedByEcdh({ key, ek: ek.key, hash })
}

function seedByOaep(key: KeyObject, hash: DigestAlgorithm): SharedSeed {
  const seed = randomBytes(DIGEST_LENGTHS[hash])
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const oaepLabel = Buffer.from(`${LABEL}\0`)
  return { seed, encryptedSecret: publicEncrypt({ key, padding, oaepHash: hash, oaepLabel }, seed) }
}

function seedByEcdh(input: {
  readonly key: KeyObject
  readonly ek: Extract<KeyMaterial, { kind: 'ecc' }>
  readonly hash: DigestAlgorithm
}): SharedSeed {
  const { key, ek, hash } = input
  const ephemeral = generateKeyPairSync('ec', { namedCurve: ek.curve })
  const { x, y } = ephemeral.publicKey.export({ format: 'jwk' })
  const point = { x: Buffer.from(x ?? '', 'base64url'), y: Buffer.from(y ?? '', 'base64url') }
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: key })
  const seed = kdfe(hash, { z, label: LABEL, partyU: point.x, partyV: ek.x }, DIGEST_LENGTHS[hash] * 8)
  const writer = new ByteWriter({ what: `ephemeral key on ${ek.curve}, ${ECC_CURVES[ek.curve].bytes} bytes` })
  return { seed, encryptedSecret: writeSized(writeSized(writer, point.x, 'x'), point.y, 'y').finish() }
}

/** Encrypt-then-MAC over the secret, both keys from the seed, the AK's name mixed into both. */
function protect(input: {
  readonly ek: TpmPublic
  readonly hash: DigestAlgorithm
  readonly seed: Uint8Array
  readonly akName: Uint8Array
  readonly secret: Uint8Array
}): Buffer {
  const { ek, hash, seed, akName, secret } = input
  const keyBits = ek.symmetric?.keyBits ?? 0
  const key = kdfa(hash, { key: seed, label: 'STORAGE', contextU: akName }, keyBits)
  const cipher = createCipheriv(`aes-${keyBits}-cfb`, key, Buffer.alloc(16))
  const plain = writeSized(new ByteWriter({ what: 'credential' }), secret, 'secret').finish()
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()])
  const hmacKey = kdfa(hash, { key: seed, label: 'INTEGRITY' }, DIGEST_LENGTHS[hash] * 8)
  const integrity = createHmac(hash, hmacKey).update(encrypted).update(akName).digest()
  return writeSized(new ByteWriter({ what: 'credential' }), integrity, 'integrityHMAC')
    .bytes(encrypted, 'encIdentity')
    .finish()
}
