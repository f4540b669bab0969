/**
 * Evidence that a TLS key is one of a guest: what the service of images/verity answers, and when it counts. REPORT_DATA is
 * SHA-512 over a label of this use, the client's nonce and the SubjectPublicKeyInfo of the key, so that evidence for one
 * key, one nonce or another use is none for another. Pure.
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { AppraiseError, FormatError } from '../../base/errors.ts'
import type { ResolvedPolicy } from '../../evidence/policy/resolve.ts'
import { type Verdict, verifyEvidence } from '../../evidence/verify-evidence.ts'
import { JsonText } from '../../formats/json-text.ts'

/** Of a client's nonce. */
export const TLS_NONCE_BYTES = 32
/** A quote with its certificates has some 5 KiB, an SNP certificate table less than 16. */
export const MOST_ANSWER_BYTES = 256 * 1024

const LABEL = 'attestbed TLS key 1\n'
const base64 = z
  .string()
  .regex(/^[A-Za-z0-9+/]*={0,2}$/, 'base64')
  .transform((text) => Buffer.from(text, 'base64'))
const answerSchema = z.strictObject({
  tee: z.enum(['snp', 'tdx']),
  publicKey: base64,
  outblob: base64,
  auxblob: base64,
})

/** What a service says of itself; none of it is believed. */
export interface TlsAttestation {
  readonly tee: 'snp' | 'tdx'
  /** SubjectPublicKeyInfo (DER) of the key that it says its TLS has. */
  readonly publicKey: Buffer
  /** Report or quote. */
  readonly outblob: Buffer
  /** SNP: the host's certificate table; empty where there is none. */
  readonly auxblob: Buffer
}

/** What a client demands of the one it speaks to; contents of files, as those of `VerifyRequest`. */
export interface AttestationDemand {
  /** Has to say by what the guest is known: its launch digest, or MRTD and RTMRs. */
  readonly policy: ResolvedPolicy
  /** Absent: none, as the two after it. */
  readonly certificates?: readonly Uint8Array[] | undefined
  readonly crls?: readonly Uint8Array[] | undefined
  readonly collateral?: readonly Uint8Array[] | undefined
  readonly at: Date
}

/** JSON of a service. Throws FormatError. */
export function parseTlsAttestation(body: Uint8Array): TlsAttestation {
  const { value } = JsonText.parse(body, {
    ...{ what: 'the answer of the service', maxBytes: MOST_ANSWER_BYTES, maxDepth: 2 },
  })
  const parsed = answerSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = issue?.path.join('.') || 'answer'
  throw new FormatError(`cannot parse the answer of the service: ${field}: ${issue?.message}`, {
    ...{ code: 'bad-value', field, offset: 0 },
  })
}

/** `publicKey`: SubjectPublicKeyInfo, DER. 64 bytes. */
export function tlsReportData(nonce: Uint8Array, publicKey: Uint8Array): Buffer {
  return createHash('sha512').update(LABEL).update(nonce).update(publicKey).digest()
}

/**
 * Whether the evidence is of a guest that the policy accepts, about this nonce and this key: the caller has to take the key
 * from its own TLS session, never from the answer. Throws AppraiseError with every finding, of evidence that is not
 * authentic as well.
 */
export async function verifyTlsAttestation(
  { outblob, auxblob }: TlsAttestation,
  demand: AttestationDemand & { readonly nonce: Uint8Array; readonly publicKey: Uint8Array },
): Promise<Verdict> {
  const { policy, certificates = [], crls = [], collateral = [], at, nonce, publicKey } = demand
  const verdict = await verifyEvidence({
    ...{ evidence: outblob, quotes: [], nonce: tlsReportData(nonce, publicKey) },
    certificates: auxblob.length > 0 ? [...certificates, auxblob] : certificates,
    ...{ crls, collateral, policy, at },
  })
  if (verdict.authentic && verdict.acceptable) return verdict
  const codes = verdict.findings.map(({ code }) => code).join(', ')
  const what = verdict.authentic ? 'the policy does not accept it' : 'it is not authentic'
  throw new AppraiseError(`cannot trust the service by its evidence: ${what} (${codes})`, {
    findings: verdict.findings,
  })
}
