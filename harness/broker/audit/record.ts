/** What the broker remembers of each decision. No secret, no nonce, no cookie: those are named by digests. */
import type { Finding } from '../../base/errors.ts'
import type { RootStatement } from '../evidence/root-statement.ts'

/** One appraisal of an attestation. */
export interface AuditedVerdict {
  /** Id of the policy, and the resources that have it. */
  readonly policy: string
  readonly resources: readonly string[]
  readonly authentic: boolean
  readonly acceptable: boolean
  readonly findings: readonly Finding[]
}

interface Common {
  /** ISO 8601, UTC. */
  readonly time: string
  /** Address of the client, or `local`. */
  readonly peer: string
}

/** Somebody sent evidence. */
export interface AttestRecord extends Common {
  readonly event: 'attest'
  /** SHA-256 of the cookie; empty where none came. */
  readonly session: string
  /** Empty where there is no such session, so that nobody said which. */
  readonly tee: string
  /** SHA-256 of what was sent; of the key, over its canonical JSON. Empty where it was too long to be read for no session. */
  readonly evidence: {
    readonly primary: string
    readonly additional?: string
    readonly initData?: string
    readonly eventLog?: string
  }
  readonly teePubkey: string
  /** SHA-256 of the public areas (TPMT_PUBLIC) that the evidence names, where it is bound to a TPM. */
  readonly tpm?: { readonly ek: string; readonly ak: string }
  /** What the guest said of its root; worth nothing in a record without an acceptable verdict. */
  readonly root?: RootStatement
  readonly token?: string
  readonly outcome: 'attested' | 'refused'
  /** Of the refusal. */
  readonly code?: string
  readonly verdicts: readonly AuditedVerdict[]
}

/** Somebody asked for a resource. */
export interface ResourceRecord extends Common {
  readonly event: 'resource'
  /** Of the session, where a cookie was shown; the token's id, where a token was. */
  readonly session?: string
  readonly token?: string
  readonly tee: string
  readonly teePubkey: string
  readonly resource: string
  readonly outcome: 'released' | 'refused'
  readonly code?: string
  readonly policy?: string
  readonly delivery?: string
}

/** The broker started or stopped; at its end with what was refused without a record of its own. */
export interface LifeRecord {
  readonly event: 'start' | 'stop'
  readonly time: string
  readonly refusals?: Readonly<Record<string, number>>
}

export type AuditRecord = AttestRecord | ResourceRecord | LifeRecord

/** Where records go. */
export interface AuditLog {
  /** Resolves when the record cannot be lost any more; rejects where it was not written, and then nothing is answered. */
  append(record: AuditRecord): Promise<void>
  /** Keeps what an attested guest sent under the digest that records name; absent, or does nothing, where nobody asked for it. */
  keepEvidence?(digest: string, text: string): Promise<void>
}
