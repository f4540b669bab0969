import type { EvidenceKind } from './kind.ts'
import type { ResolvedPolicy } from './policy/resolve.ts'

/** Contents of files, each read whole; any of them may be hostile. */
export interface VerifyRequest {
  readonly evidence: Uint8Array
  /** Default: detected. */
  readonly kind?: EvidenceKind | undefined
  /** Issuers and leaves, in any order: PEM, DER, SNP certificate tables. */
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
  /** TDX: TCB info, QE identity, chains, lists, or all in one. */
  readonly collateral: readonly Uint8Array[]
  /** What covers an event log's registers, or goes with an HCL report: TD quotes, TPM quotes. */
  readonly quotes: readonly Uint8Array[]
  /** The attestation key that the caller trusts to be a TPM's. */
  readonly ak?: Uint8Array | undefined
  /** Parts of a TPM quote that tpm2-tools write as files of their own. */
  readonly signature?: Uint8Array | undefined
  readonly pcrs?: Uint8Array | undefined
  /** systemd's measurement log, which goes on where the firmware's ends. */
  readonly userspaceLog?: Uint8Array | undefined
  /** 1 to 64 bytes. */
  readonly nonce?: Uint8Array | undefined
  readonly policy: ResolvedPolicy
  readonly at: Date
}
