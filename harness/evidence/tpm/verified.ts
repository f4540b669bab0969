/** TPM quotes on their way: parsed, and verified. */
import type { Attest } from '../../formats/tpm2/attest.ts'
import type { VerifiedChain } from '../certificates/chain.ts'
import type { PcrBank, VerifiedQuote } from './quote.ts'
import type { TpmEvidence } from './quote-file.ts'

/** Quotes and what each says (TPM 2.0 Part 2, TPMS_ATTEST); nothing of it is believed. */
export interface ParsedTpmQuotes extends TpmEvidence {
  readonly attests: readonly Attest[]
}

/** Quotes that one trusted AK signed: TPM 2.0 Part 3, TPM2_Quote. */
export interface VerifiedTpmQuotes {
  readonly parsed: ParsedTpmQuotes
  readonly quotes: readonly VerifiedQuote[]
  /** All values that signed digests cover. */
  readonly pcrs: readonly PcrBank[]
  /** SHA-256 of the AK's SubjectPublicKeyInfo, hex. */
  readonly akId: string
  /** Why the AK is trusted: "given with --ak". */
  readonly akFrom: string
  /** Of the AK's certificate, where an authority vouches for it. */
  readonly akChain?: VerifiedChain
  /** Of the TPM that opened a credential for the AK: 34 bytes with SHA-256. */
  readonly ekName?: Uint8Array
}
