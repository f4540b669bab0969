/**
 * An AK that is in the TPM of an EK: what a verifier keeps of a credential that it made, and what the guest's TPM gave
 * back for it. TPM 2.0 Part 1, "Credential Protection".
 */
import { DIGEST_LENGTHS, digest, equalBytes } from '../../base/digest.ts'
import { FormatError, UsageError, VerifyError } from '../../base/errors.ts'
import { JsonText } from '../../formats/json-text.ts'
import { type TpmPublic, tpmName } from '../../formats/tpm2/public.ts'
import type { AttestationKey } from './quote.ts'

/** Kept by whoever made the credential; the secret itself is not in it. Names are those of TPM 2.0 Part 1, "Names". */
export interface CredentialRecord {
  /** 34 bytes with SHA-256: the algorithm's number and the digest of the EK's public area. */
  readonly ekName: Uint8Array
  /** The same of the AK. */
  readonly akName: Uint8Array
  /** 32 bytes. A secret that can be guessed can be found by it. */
  readonly secretSha256: Uint8Array
}

/**
 * Its digest is in the record: what is shorter can be found by trying. TPM 2.0 Part 1, "Credential Protection", leaves
 * it open.
 */
export const LEAST_SECRET_BYTES = 16

/**
 * A record as JSON with a newline at its end: `version` 1, and the three in hex as `ek_name`, `ak_name`,
 * `secret_sha256`. Throws UsageError `bad-value` for a secret of less than 16 bytes, and for a name whose algorithm is
 * SHA-1 or one that is not known: parseCredentialRecord takes no such record. TPM 2.0 Part 1, "Credential Protection".
 */
export function encodeCredentialRecord(input: {
  readonly ek: TpmPublic
  readonly ak: TpmPublic
  readonly secret: Uint8Array
}): string {
  const { ek, ak, secret } = input
  if (secret.length < LEAST_SECRET_BYTES)
    throw refused(`its secret has ${secret.length} bytes, ${LEAST_SECRET_BYTES} are needed`)
  mustHaveName('EK', ek)
  mustHaveName('AK', ak)
  const [ek_name, ak_name] = [tpmName(ek).toString('hex'), tpmName(ak).toString('hex')]
  const secret_sha256 = digest('sha256', secret).toString('hex')
  return `${JSON.stringify({ version: 1, ek_name, ak_name, secret_sha256 }, null, 2)}\n`
}

/** Throws UsageError `bad-value` where a credential cannot rest on a key's name. TPM 2.0 Part 1, "Names". */
export function mustHaveName(what: 'EK' | 'AK', { nameAlgorithm: { bank, name } }: TpmPublic): void {
  if (bank === undefined || !NAME_BYTES.includes(2 + DIGEST_LENGTHS[bank]))
    throw refused(`the name of the ${what} is by ${name}, SHA-256 to SHA-512 are needed`)
}

const LIMITS = { what: 'credential record', maxBytes: 4096, maxDepth: 2 }
/** Algorithm and SHA-256 to SHA-512; a name of SHA-1 would be one that an attacker can choose two keys for. */
const NAME_BYTES = [34, 50, 66]

/** Parses a record of at most 4 KiB. Throws FormatError with the member. RFC 8259. */
export function parseCredentialRecord(bytes: Uint8Array): CredentialRecord {
  const members = JsonText.parse(bytes, LIMITS).members()
  if (members?.get('version')?.value !== 1) throw malformed('version', 'is not 1')
  const hex = (name: string, lengths: readonly number[]) => {
    const text = members.get(name)?.value
    const value =
      typeof text === 'string' && /^(?:[0-9a-f]{2})+$/.test(text) ? Buffer.from(text, 'hex') : undefined
    if (value === undefined || !lengths.includes(value.length))
      throw malformed(name, `is not ${lengths.join(', ')} bytes in lower-case hex`)
    return value
  }
  return {
    ekName: hex('ek_name', NAME_BYTES),
    akName: hex('ak_name', NAME_BYTES),
    secretSha256: hex('secret_sha256', [32]),
  }
}

/**
 * Throws VerifyError `bad-credential` where the credential was made for another AK, or the guest returned another
 * secret: its AK is not in the EK's TPM. `bad-signing-key` for a bare key, which has no name.
 */
export function verifyActivated(
  { akName, secretSha256 }: CredentialRecord,
  { ak, returned }: { readonly ak: AttestationKey; readonly returned: Uint8Array },
): void {
  if (!('nameAlgorithm' in ak))
    throw new VerifyError('cannot bind the AK to the EK: a bare key has no name', {
      code: 'bad-signing-key',
      expected: "the AK's public area (TPM2B_PUBLIC or TPMT_PUBLIC)",
      got: 'a public key alone',
    })
  mustEqual('the credential was made for another AK', { expected: akName, got: tpmName(ak) })
  const got = digest('sha256', returned)
  mustEqual('the secret that came back is not the one in the credential', { expected: secretSha256, got })
}

function mustEqual(
  problem: string,
  { expected, got }: { readonly expected: Uint8Array; readonly got: Uint8Array },
): void {
  if (equalBytes(expected, got)) return
  throw new VerifyError(`cannot bind the AK to the EK: ${problem}`, {
    code: 'bad-credential',
    expected: Buffer.from(expected).toString('hex'),
    got: Buffer.from(got).toString('hex'),
  })
}

function refused(problem: string): UsageError {
  return new UsageError(`cannot make a credential: ${problem}`, { code: 'bad-value' })
}

function malformed(field: string, problem: string): FormatError {
  return new FormatError(`cannot parse the credential record: ${field} ${problem}`, {
    ...{ code: 'bad-value', field, offset: 0 },
  })
}
