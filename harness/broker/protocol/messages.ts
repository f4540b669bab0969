/**
 * The messages of the KBS protocol 0.4.0: confidential-containers/trustee, kbs/docs/kbs_attestation_protocol.md, with the
 * types of virtee/kbs-types. What a client sends is hostile: bounded, strictly JSON, no key twice.
 */
import { z } from 'zod'
import { FormatError } from '../../base/errors.ts'
import { type JsonLimits, JsonText } from '../../formats/json-text.ts'
import { BrokerRefusal } from '../refusal.ts'

/** Exactly this one: Trustee's KBS requires `=0.4.0`. */
export const PROTOCOL_VERSION = '0.4.0'

/** Digests that REPORT_DATA can hold; strongest of 64 bytes last, but Trustee's default first. */
export const HASH_ALGORITHMS = ['sha384', 'sha512', 'sha256'] as const
/** A digest over runtime data. */
export type HashAlgorithm = (typeof HASH_ALGORITHMS)[number]

const MAX_TEXT = 64
/** Far above any guest's; TDX event logs in base64 are the largest part. */
const MAX_DEPTH = 16

const requestSchema = z.object({
  version: z.string().max(MAX_TEXT),
  tee: z.string().max(MAX_TEXT),
  'extra-params': z.unknown().optional(),
})

/** `POST /kbs/v0/auth`. */
export interface AuthRequest {
  readonly version: string
  readonly tee: string
  /** What the client says that it can compute, in lower case; undefined where it says nothing. */
  readonly supportedHashes: readonly string[] | undefined
}

/** Throws BrokerRefusal `malformed-request`. */
export function parseAuthRequest(body: Uint8Array, maxBytes: number): AuthRequest {
  const { version, tee, 'extra-params': extra } = parse(body, requestSchema, { what: 'Request', maxBytes })
  return { version, tee, supportedHashes: supportedHashes(extra) }
}

const hashListSchema = z.object({ 'supported-hash-algorithms': z.array(z.string().max(MAX_TEXT)).max(32) })

function supportedHashes(extra: unknown): readonly string[] | undefined {
  const parsed = hashListSchema.safeParse(extra)
  return parsed.success
    ? parsed.data['supported-hash-algorithms'].map((name) => name.toLowerCase())
    : undefined
}

/** What is hashed must have one UTF-8: a lone surrogate has none. */
const ascii = z.string().regex(/^[ -~]*$/)
const coordinate = ascii.max(128)
/**
 * A JSON Web Key, whole: all of it is hashed, and a member that nobody here knows is refused rather than left out.
 * Hashing parts of the key once left it unbound (guest-components#366).
 */
const teePubkeySchema = z.discriminatedUnion('kty', [
  z.strictObject({
    kty: z.literal('EC'),
    crv: ascii.max(MAX_TEXT),
    alg: ascii.max(MAX_TEXT),
    x: coordinate,
    y: coordinate,
  }),
  z.strictObject({
    kty: z.literal('RSA'),
    alg: ascii.max(MAX_TEXT),
    n: ascii.max(2048),
    e: ascii.max(16),
  }),
])
/** The key that the client made for this exchange; its secret half stays in the guest. */
export type TeePubkey = z.output<typeof teePubkeySchema>

const attestationSchema = z.object({
  'init-data': z.object({ format: z.string().max(MAX_TEXT), body: z.string().max(256 * 1024) }).nullish(),
  'runtime-data': z.strictObject({ nonce: ascii.max(1024), 'tee-pubkey': teePubkeySchema }),
  'tee-evidence': z.object({
    primary_evidence: z.unknown(),
    additional_evidence: z.string().refine((text) => text.isWellFormed()),
  }),
})

/** `POST /kbs/v0/attest`. */
export interface Attestation {
  readonly initData: { readonly format: string; readonly body: string } | undefined
  readonly nonce: string
  readonly teePubkey: TeePubkey
  /** JSON of the TEE's own form. */
  readonly primaryEvidence: unknown
  /** A JSON text, or empty: hashed as the string it is. */
  readonly additionalEvidence: string
}

/** Throws BrokerRefusal `malformed-request`. */
export function parseAttestation(body: Uint8Array, maxBytes: number): Attestation {
  const message = parse(body, attestationSchema, { what: 'Attestation', maxBytes })
  const { nonce, 'tee-pubkey': teePubkey } = message['runtime-data']
  const { primary_evidence: primaryEvidence, additional_evidence: additionalEvidence } =
    message['tee-evidence']
  return {
    initData: message['init-data'] ?? undefined,
    nonce,
    teePubkey,
    primaryEvidence,
    additionalEvidence,
  }
}

/** A JSON text within a message, such as the additional evidence. Throws BrokerRefusal `malformed-request`. */
export function parseInner<Schema extends z.ZodType>(
  text: string,
  schema: Schema,
  what: string,
): z.output<Schema> {
  return parse(text, schema, { what, maxBytes: text.length })
}

function parse<Schema extends z.ZodType>(
  body: Uint8Array | string,
  schema: Schema,
  limits: Omit<JsonLimits, 'maxDepth'>,
): z.output<Schema> {
  const parsed = schema.safeParse(jsonOf(body, limits))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  // Only the path is told, never a value: it would be the client's own text in an answer and a log.
  const place = (issue?.path ?? []).filter((part) => typeof part === 'string').join('.')
  throw malformed(`${limits.what} has something else than what the protocol asks for at "${place}"`)
}

function jsonOf(body: Uint8Array | string, limits: Omit<JsonLimits, 'maxDepth'>): unknown {
  try {
    return JsonText.parse(body, { ...limits, maxDepth: MAX_DEPTH }).value
  } catch (cause) {
    if (cause instanceof FormatError) throw malformed(cause.message, cause)
    throw cause
  }
}

function malformed(message: string, cause?: unknown): BrokerRefusal {
  return new BrokerRefusal('malformed-request', message, cause)
}
