import type { EvidenceKind } from '../evidence/kind.ts'

/** The flags of `attestbed verify` as commander hands them over; files by their paths. */
export interface VerifyFlags {
  readonly kind?: EvidenceKind
  readonly certs?: readonly string[]
  readonly collateral?: readonly string[]
  readonly crl?: readonly string[]
  readonly quote?: readonly string[]
  readonly eventLog?: string
  readonly userspaceLog?: string
  readonly ak?: string
  readonly akRoot?: readonly string[]
  readonly credential?: string
  readonly activated?: string
  readonly svsmManifest?: string
  readonly idBlock?: string
  readonly idAuth?: string
  readonly signature?: string
  readonly pcrs?: string
  readonly nonce?: Uint8Array
  readonly policy?: string
  readonly at?: Date
  readonly network?: boolean
  readonly kds?: string
  readonly pcs?: string
  readonly json?: boolean
}
