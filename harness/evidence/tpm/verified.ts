/** TPM quotes on their way: parsed, and verified. */
import type { Attest } from '../../formats/tpm2/attest.ts'
import type { VerifiedChain } from '../certificates/chain.ts'
import type { PcrBank, VerifiedQuote } from './quote.ts'
import type { TpmEvidence } from './quote-file.ts'

export interface ParsedTpmQuotes extends TpmEvidence {
  readonly attests: readonly Attest[]
}

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
}
