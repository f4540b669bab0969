/** A credential for TPM2_ActivateCredential: TPM 2.0 Part 1, "Credential Protection". */
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { readSized, writeSized } from './sized-buffer.ts'

/** What tpm2_makecredential puts in front of the two structures, and its version. */
const FILE_MAGIC = Buffer.from('badcc0de00000001', 'hex')

/** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET without their sizes: TPM 2.0 Part 2. */
export interface Credential {
  /** TPMS_ID_OBJECT without a TPM2B around it: TPM2B integrity HMAC, then the encrypted TPM2B of the secret. */
  readonly idObject: Uint8Array
  /** The seed under the EK: OAEP ciphertext (RSA), or TPMS_ECC_POINT of the ephemeral key (ECC). */
  readonly encryptedSecret: Uint8Array
}

/**
 * As tpm2_activatecredential reads it. Tpm2-tools 5, lib/files.c: magic, version, TPM2B_ID_OBJECT,
 * TPM2B_ENCRYPTED_SECRET (TPM 2.0 Part 2); at most 65535 bytes each. FormatError above.
 */
export function encodeCredentialFile({ idObject, encryptedSecret }: Credential): Buffer {
  const writer = new ByteWriter({ what: 'credential' }).bytes(FILE_MAGIC, 'magic')
  return writeSized(writeSized(writer, idObject, 'credentialBlob'), encryptedSecret, 'secret').finish()
}

/**
 * Parses a file of tpm2_makecredential: 8 bytes, then 1 to 132 and 1 to 512 bytes in TPM2Bs. Throws FormatError.
 * Tpm2-tools 5, lib/files.c; TPM 2.0 Part 2, TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
 */
export function parseCredentialFile(bytes: Uint8Array): Credential {
  const reader = new ByteReader(bytes, { what: 'credential file' })
  reader.magic(FILE_MAGIC, 'magic')
  const idObject = readSized(reader, 'credentialBlob', { min: 1, max: 132 })
  const encryptedSecret = readSized(reader, 'secret', { min: 1, max: 512 })
  reader.end()
  return { idObject, encryptedSecret }
}
