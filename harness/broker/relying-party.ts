/**
 * Tokens from the other side: is it one of an issuer that I trust, and what does it say? As Trustee's verifier decides
 * (kbs/src/crypto/jwt.rs): by a key in the header that certificates vouch for, else by a key of a known set.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose'
import { z } from 'zod'
import { FormatError, VerifyError } from '../base/errors.ts'
import { trustAnchor, verifyChain } from '../evidence/certificates/chain.ts'
import { parsePem } from '../formats/pem.ts'
import { nameText, parseCertificate } from '../formats/x509.ts'
import { BrokerRefusal } from './refusal.ts'

const MAX_CHAIN = 8
const jwkSchema = z.looseObject({
  ...{ kty: z.string(), alg: z.string(), kid: z.string().optional() },
  x5c: z
    .array(z.string().max(64 * 1024))
    .max(MAX_CHAIN)
    .optional(),
})
/** A public key as it travels; members that are not named here are those of its type. */
export type TokenJwk = z.output<typeof jwkSchema>
const jwkSetSchema = z.object({ keys: z.array(jwkSchema).max(64) })

/** Whom a relying party trusts; at least one of the two has something. */
export interface TokenTrust {
  /** PEM of self-signed authorities. */
  readonly anchorsPem?: Uint8Array
  /** A JSON Web Key set, as a broker has at `/.well-known/jwks.json`. */
  readonly keySet?: Uint8Array
  readonly at: Date
}

const ALGORITHMS = ['ES256', 'ES384', 'RS256', 'RS384', 'PS256', 'PS384']

/** What the token says. Throws BrokerRefusal `bad-token`; VerifyError and FormatError for a key that nobody vouches for. */
export async function verifyAttestationToken(token: string, trust: TokenTrust): Promise<JWTPayload> {
  try {
    const header = decodeProtectedHeader(token)
    const { key, algorithm } = trustedKey(header, trust)
    const options = { algorithms: [algorithm], currentDate: trust.at, requiredClaims: ['exp'] }
    return (await jwtVerify(token, key, options)).payload
  } catch (cause) {
    const isToken =
      cause instanceof errors.JOSEError || cause instanceof z.ZodError || cause instanceof TypeError
    if (!isToken) throw cause
    throw new BrokerRefusal('bad-token', `the token is not one to be trusted: ${cause.name}`, cause)
  }
}

interface TrustedKey {
  readonly key: KeyObject
  readonly algorithm: string
}

function trustedKey(
  header: Readonly<Record<string, unknown>>,
  { anchorsPem, keySet, at }: TokenTrust,
): TrustedKey {
  if (header['jwk'] !== undefined && anchorsPem !== undefined)
    return verifyTokenKey(jwkSchema.parse(header['jwk']), { anchorsPem, at })
  const { keys } = jwkSetSchema.parse(
    keySet === undefined ? { keys: [] } : JSON.parse(Buffer.from(keySet).toString()),
  )
  const known = keys.find(({ kid }) => kid !== undefined && kid === header['kid'])
  if (known) return keyOf(known)
  throw new BrokerRefusal(
    'bad-token',
    'the token names no key of the given set, and none that the authorities vouch for',
  )
}

/**
 * A key whose certificates lead to one of the authorities: the first is of the key itself. Throws VerifyError
 * `endorsement-missing` without certificates, `binding-mismatch` where they are of another key, and what a path can
 * break for.
 */
export function verifyTokenKey(
  jwk: TokenJwk,
  { anchorsPem, at }: { readonly anchorsPem: Uint8Array; readonly at: Date },
): TrustedKey {
  const [leaf, ...certificates] = (jwk.x5c ?? []).map((text) => parseCertificate(Buffer.from(text, 'base64')))
  if (leaf === undefined)
    throw new VerifyError('cannot trust the key of the token: no certificate vouches for it', {
      ...{ code: 'endorsement-missing', expected: 'x5c', got: 'none' },
    })
  const trusted = keyOf(jwk)
  const certified = createPublicKey({ key: Buffer.from(leaf.publicKey.raw), format: 'der', type: 'spki' })
  if (!trusted.key.equals(certified))
    throw new VerifyError('cannot trust the key of the token: its certificate is of another key', {
      code: 'binding-mismatch',
      expected: Buffer.from(leaf.publicKey.raw).toString('hex'),
      got: trusted.key.export({ format: 'der', type: 'spki' }).toString('hex'),
    })
  const roots = parsePem(anchorsPem).map(({ bytes }) => parseCertificate(bytes))
  const anchors = roots.map((root) => trustAnchor(root, nameText(root.subject)))
  verifyChain({ leaf, certificates, anchors, at })
  return trusted
}

function keyOf(jwk: TokenJwk): TrustedKey {
  if (!ALGORITHMS.includes(jwk.alg))
    throw new BrokerRefusal('bad-token', `the key of the token is for ${ALGORITHMS.join(', ')}, or not used`)
  try {
    return { key: createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }), algorithm: jwk.alg }
  } catch (cause) {
    throw new FormatError('cannot parse the key of the token: it is no JSON Web Key', {
      ...{ code: 'bad-value', field: 'jwk', offset: 0, cause },
    })
  }
}
