/** The part of a software TPM in additional evidence. */
import {
  encodeAttest,
  makeAk,
  makeEk,
  type SoftwareKey,
  signAttest,
} from '../../evidence/testing/software-tpm.ts'

/** The keys of one TPM: an AK under ECDSA, and the EK that `kind` says. */
export interface SoftwareTpm {
  readonly ek: SoftwareKey
  readonly ak: SoftwareKey
}

export function softwareTpm(kind: 'rsa' | 'P-256' | 'P-384' = 'P-256'): SoftwareTpm {
  return { ek: makeEk({ kind }), ak: makeAk({ scheme: 'ecdsa' }) }
}

/** JSON of the part; `bound` is the quote's qualifying data. */
export function tpmPartText(
  { ek, ak }: SoftwareTpm,
  bound: Uint8Array,
  change: Readonly<Record<string, string | null>> = {},
): string {
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

/** The file of `tpm2_quote -o` with PCR 7 of SHA-256, which is what the software TPM quotes. */
export function pcrFile(value = Buffer.alloc(32, 7)): Buffer {
  const selections = Buffer.alloc(4 + 16 * 8)
  selections.writeUInt32LE(1, 0)
  selections.writeUInt16LE(0x000b, 4)
  selections.writeUInt8(3, 6)
  selections.writeUInt8(0x80, 7)
  const lists = Buffer.alloc(4 + 4 + 8 * 66)
  lists.writeUInt32LE(1, 0)
  lists.writeUInt32LE(1, 4)
  lists.writeUInt16LE(value.length, 8)
  lists.set(value, 10)
  return Buffer.concat([selections, lists])
}
