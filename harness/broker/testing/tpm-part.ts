/** The part of a software TPM in additional evidence. */
import { encodeAttest, makeAk, makeEk, signAttest, type SoftwareKey } from '../../evidence/testing/software-tpm.ts'

/** The keys of one TPM: an AK under ECDSA, and the EK that `kind` says. */
export interface SoftwareTpm {
  readonly ek: SoftwareKey
  readonly ak: SoftwareKey
}

export function softwareTpm(kind: 'rsa' | 'P-256' | 'P-384' = 'P-256'): SoftwareTpm {
  return { ek: makeEk({ kind }), ak: makeAk({ scheme: 'ecdsa' }) }
}

/** JSON of the part; `bound` is the quote's qualifying data. */
export function tpmPartText({ ek, ak }: SoftwareTpm, bound: Uint8Array, change: Readonly<Record<string, string | null>> = {}): string {
  const attest = encodeAttest(ak, { nonce: bound })
  const part = {
    ekPublic: Buffer.from(ek.area.bytes).toString('base64'),
    akPublic: Buffer.from(ak.area.bytes).toString('base64'),
    quote: attest.toString('base64'),
    signature: signAttest(ak, attest, { scheme: 'ecdsa', hash: 'sha256' }).toString('base64'),
    ...change,
  }
  return JSON.stringify({ tpm: part })
}
