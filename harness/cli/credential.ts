/** `attestbed credential make`: TPM2_MakeCredential without a TPM. */
import { randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { DIGEST_LENGTHS } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { encodeCredentialRecord, LEAST_SECRET_BYTES, mustHaveName } from '../evidence/tpm/activation.ts'
import { makeCredential } from '../evidence/tpm/credential.ts'
import { readAttestationKey } from '../evidence/tpm/quote-file.ts'
import { encodeCredentialFile } from '../formats/tpm2/credential.ts'
import { type TpmPublic, tpmName } from '../formats/tpm2/public.ts'
import { readEvidenceFile } from './evidence-files.ts'

export interface CredentialFlags {
  readonly ek: string
  readonly ak: string
  readonly out: string
  readonly record: string
  readonly secretFile?: string
}

const DEFAULT_SECRET_BYTES = 32

/**
 * Writes the credential and its record, or neither; neither file may be there before. Returns 0. Throws UsageError
 * `bad-value` for a bare key, a name by SHA-1, a secret of less than 16 bytes or longer than the digest of the EK's name,
 * and a file that is there; FormatError for what is no key, VerifyError `bad-signing-key` for what is no EK.
 */
export async function makeCredentialFiles(flags: CredentialFlags): Promise<number> {
  const { out, record, secretFile } = flags
  const ek = await publicArea(flags.ek, 'ek')
  const ak = await publicArea(flags.ak, 'ak')
  mustHaveName('EK', ek)
  mustHaveName('AK', ak)
  const given = secretFile === undefined ? undefined : await readEvidenceFile(secretFile)
  const most = ek.nameAlgorithm.bank ? DIGEST_LENGTHS[ek.nameAlgorithm.bank] : 0
  if (given && (given.length < LEAST_SECRET_BYTES || given.length > most))
    throw bad(
      `--secret-file has ${given.length} bytes, a credential for this EK takes ${LEAST_SECRET_BYTES} to ${most}`,
    )
  const secret = given ?? randomBytes(Math.min(DEFAULT_SECRET_BYTES, most))
  const credential = makeCredential({ ek, akName: tpmName(ak), secret })
  await writeNew(record, encodeCredentialRecord({ ek, ak, secret }))
  // A credential whose record is lost binds nothing, and its place is taken.
  await writeNew(out, encodeCredentialFile(credential)).catch(async (error: unknown) => {
    await rm(record)
    throw error
  })
  process.stdout.write(`EK ${tpmName(ek).toString('hex')}\nAK ${tpmName(ak).toString('hex')}\n`)
  return 0
}

async function publicArea(path: string, flag: 'ek' | 'ak'): Promise<TpmPublic> {
  const key = readAttestationKey(await readEvidenceFile(path), new Date())
  if ('nameAlgorithm' in key) return key
  throw bad(
    `--${flag} is a bare key, which has no name: its public area is needed (TPM2B_PUBLIC, TPMT_PUBLIC)`,
  )
}

async function writeNew(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(path, content, { flag: 'wx', mode: 0o600 }).catch((cause: Error) => {
    throw bad(`cannot write ${escapeControls(path)}: ${escapeControls(cause.message)}`, cause)
  })
}

function bad(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { code: 'bad-value', cause })
}
