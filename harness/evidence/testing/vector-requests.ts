/** Requests as the command line makes them, with vectors for files. */
import { vector, vectorNames } from '../../base/testing/vectors.ts'
import type { EvidenceKind } from '../kind.ts'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import { STRICT } from '../policy/strict.ts'
import type { VerifyRequest } from '../request.ts'
import { type Verdict, verifyEvidence } from '../verify-evidence.ts'

/** Names of vectors; one without a dot is a folder. */
export interface VectorFiles {
  readonly kind?: EvidenceKind
  readonly certs?: readonly string[]
  readonly crls?: readonly string[]
  readonly collateral?: readonly string[]
  /** Documents made from vectors. */
  readonly collateralBytes?: readonly Uint8Array[]
  readonly quotes?: readonly string[]
  readonly ak?: string
  readonly signature?: string
  readonly nonce?: Uint8Array
  readonly policy?: ResolvedPolicy
  readonly at?: Date | string
}

/** Long after every vector and before every root's end. */
const DEFAULT_TIME = '2026-06-01'

/** `evidence`: a vector's name, or bytes made from one. */
export function request(evidence: string | Uint8Array, files: VectorFiles): VerifyRequest {
  const { kind, certs = [], crls = [], collateral = [], quotes = [], ak, signature } = files
  return {
    evidence: typeof evidence === 'string' ? vector(evidence) : evidence,
    ...{ kind, nonce: files.nonce, policy: files.policy ?? STRICT, at: new Date(files.at ?? DEFAULT_TIME) },
    certificates: contents(certs),
    crls: contents(crls),
    collateral: [...contents(collateral), ...(files.collateralBytes ?? [])],
    quotes: contents(quotes),
    ak: ak === undefined ? undefined : vector(ak),
    signature: signature === undefined ? undefined : vector(signature),
  }
}

export function verdictOf(made: VerifyRequest): Promise<Verdict> {
  return verifyEvidence(made)
}

function contents(names: readonly string[]): readonly Uint8Array[] {
  return names
    .flatMap((name) => (name.includes('.') ? [name] : vectorNames(name)))
    .map((name) => vector(name))
}
