import type { EvidenceKind } from './kind.ts'
import type { ResolvedPolicy } from './policy/resolve.ts'
import type { SnpChainMemory } from './snp/chain-memory.ts'

/** Contents of files, each read whole; any of them may be hostile. */
export interface VerifyRequest {
  readonly evidence: Uint8Array
  /** Default: detected. */
  readonly kind?: EvidenceKind | undefined
  /** Issuers and leaves, in any order: PEM, DER, SNP certificate tables. */
  readonly certificates: readonly Uint8Array[]
  /** Each must count: one of no issuer in the chain is a finding. */
  readonly crls: readonly Uint8Array[]
  /** TDX: TCB info, QE identity, chains, lists, or all in one. */
  readonly collateral: readonly Uint8Array[]
  /** What covers an event log's registers, or goes with an HCL report: TD quotes, TPM quotes. */
  readonly quotes: readonly Uint8Array[]
  /** The attestation key: one that the caller trusts to be a TPM's or, with `akRoots`, its certificate. */
  readonly ak?: Uint8Array | undefined
  /** Certificates of the authorities whose word the caller takes for a TPM's AK; then `ak` must be a certificate. */
  readonly akRoots?: readonly Uint8Array[] | undefined
  /** What was kept of a credential for `ak` (`encodeCredentialRecord`), and the secret that the guest's TPM gave back. */
  readonly credential?: Uint8Array | undefined
  readonly activated?: Uint8Array | undefined
  /** Parts of a TPM quote that tpm2-tools write as files of their own. */
  readonly signature?: Uint8Array | undefined
  readonly pcrs?: Uint8Array | undefined
  /** SNP: what an SVSM said of its services, or of its vTPM alone, when the report was asked for with `nonce`. */
  readonly svsmManifest?: Uint8Array | undefined
  /** SNP: what the guest was launched with, 96 bytes and 4096; or both in base64. Neither counts without the other. */
  readonly idBlock?: Uint8Array | undefined
  readonly idAuth?: Uint8Array | undefined
  /** HCL report: a firmware's event log, which the vTPM's quotes cover. */
  readonly eventLog?: Uint8Array | undefined
  /** systemd's measurement log, which goes on where the firmware's ends. */
  readonly userspaceLog?: Uint8Array | undefined
  /** 1 to 64 bytes. */
  readonly nonce?: Uint8Array | undefined
  readonly policy: ResolvedPolicy
  readonly at: Date
  /** Of a cache or a key service: taken where it fits, passed over where it does not. */
  readonly found?: FoundEndorsements | undefined
  /** SNP: chains that this caller saw verified before, and those of this request; default: none is taken over. */
  readonly snpChains?: SnpChainMemory | undefined
}

/** Contents of files, as those of VerifyRequest. */
export interface FoundEndorsements {
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
  readonly collateral: readonly Uint8Array[]
}
