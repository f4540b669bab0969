/**
 * Attestation results as a token: an EAR (draft-ietf-rats-ear) in a JWT, with the claims where Trustee's has them, so
 * that a relying party of Trustee's finds `tee-pubkey` at the usual place.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { errors, type JSONWebKeySet, type JWK, jwtVerify } from 'jose'
import { z } from 'zod'
import type { PolicyVerdict } from './evidence/appraise.ts'
import { base64Of } from './evidence/base64.ts'
import type { TpmPart } from './evidence/tpm-evidence.ts'
import type { TeePubkey } from './protocol/messages.ts'
import { BrokerRefusal } from './refusal.ts'

/** All that a release needs to know of a guest that was attested; no evidence is kept. */
export interface AttestedGuest {
  readonly tokenId: string
  readonly tee: string
  readonly teePubkey: TeePubkey
  /** Ids of the policies that its evidence met. */
  readonly accepted: readonly string[]
  /** TPMT_PUBLIC of the EK and the AK of a TPM part whose quote verified. */
  readonly tpm: { readonly ek: Uint8Array; readonly ak: Uint8Array } | undefined
}

export interface TokenKey {
  /** P-256 or P-384. */
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** DER, the key's own first: what relying parties check who know an authority and not the key. */
  readonly certificates?: readonly Uint8Array[]
}

/** A key for the life of one broker: its tokens end with it. */
export function ephemeralTokenKey(): TokenKey {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

export interface TokenOptions {
  readonly key: TokenKey
  readonly issuer: string
  readonly lifetimeMs: number
}

/** What a token is made of. */
export interface TokenContent {
  readonly tee: string
  readonly nonce: string
  readonly teePubkey: TeePubkey
  readonly reportData: Uint8Array
  readonly verdicts: readonly PolicyVerdict[]
  readonly tpm: TpmPart | undefined
}

const PROFILE = 'tag:github.com,2024:confidential-containers/Trustee'
const CLAIMS_LIMIT = 3 * 1024
const HASHES: Readonly<Record<string, string>> = { ES256: 'sha256', ES384: 'sha384' }
const ALGORITHMS: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384' }

export class Tokens {
  readonly #options: TokenOptions
  readonly #algorithm: string
  readonly #kid: string
  readonly #jwk: JWK

  /** Throws TypeError for a key that is not on P-256 or P-384. */
  constructor(options: TokenOptions) {
    const algorithm = ALGORITHMS[options.key.privateKey.asymmetricKeyDetails?.namedCurve ?? '']
    if (algorithm === undefined) throw new TypeError('a token is signed by a key on P-256 or P-384')
    const { certificates = [], publicKey } = options.key
    const jwk = publicKey.export({ format: 'jwk' })
    const x5c = certificates.map((der) => Buffer.from(der).toString('base64'))
    this.#options = options
    this.#algorithm = algorithm
    this.#kid = createHash('sha256').update(`${jwk.x}.${jwk.y}`).digest('base64url')
    this.#jwk = {
      ...(jwk as JWK),
      alg: algorithm,
      kid: this.#kid,
      use: 'sig',
      ...(x5c.length > 0 && { x5c }),
    }
  }

  /** RFC 7517. */
  get keys(): JSONWebKeySet {
    return { keys: [this.#jwk] }
  }

  /** The token, and what it says. */
  issue(content: TokenContent, now: Date): { readonly token: string; readonly guest: AttestedGuest } {
    const { tee, teePubkey, verdicts, tpm } = content
    const guest: AttestedGuest = {
      ...{ tokenId: randomBytes(16).toString('hex'), tee, teePubkey },
      accepted: verdicts.filter(({ acceptable }) => acceptable).map(({ policy }) => policy.id),
      tpm: tpm && { ek: tpm.ek.bytes, ak: tpm.ak.bytes },
    }
    const seconds = Math.floor(now.getTime() / 1000)
    const { issuer, lifetimeMs } = this.#options
    const times = { iat: seconds, exp: seconds + Math.floor(lifetimeMs / 1000) }
    const claims = { ...claimsOf(content, guest), iss: issuer, ...times, jti: guest.tokenId }
    const token = this.#sign(claims)
    return { token, guest }
  }

  /** RFC 7515, compact. In this thread: a signature takes less time than the way to another one and back. */
  #sign(claims: object): string {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    // As Trustee's: the key itself only where certificates come with it, since nobody may believe a bare one.
    const key5c = this.#jwk.x5c && { jwk: this.#jwk }
    const input = `${part({ alg: this.#algorithm, typ: 'JWT', kid: this.#kid, ...key5c })}.${part(claims)}`
    const key = { key: this.#options.key.privateKey, dsaEncoding: 'ieee-p1363' } as const
    return `${input}.${sign(HASHES[this.#algorithm] ?? null, Buffer.from(input), key).toString('base64url')}`
  }

  /** A token of this broker's own. Throws BrokerRefusal `bad-token`. */
  async read(token: string, now: Date): Promise<AttestedGuest> {
    try {
      const { payload } = await jwtVerify(token, this.#options.key.publicKey, {
        ...{ algorithms: [this.#algorithm], issuer: this.#options.issuer, currentDate: now },
        requiredClaims: ['exp', 'iat', 'jti'],
      })
      return guestOf(payload)
    } catch (cause) {
      const isOurs =
        cause instanceof errors.JOSEError || cause instanceof z.ZodError || cause instanceof BrokerRefusal
      if (!isOurs) throw cause
      throw new BrokerRefusal('bad-token', 'the token is not one of this broker, or no longer valid', cause)
    }
  }
}

/** AR4SI: 2 affirming, 33 and more a warning, 96 and more contraindicated; 0 where nothing is claimed. */
function trustworthiness(verdicts: readonly PolicyVerdict[]): Readonly<Record<string, number>> {
  const authentic = verdicts.some((verdict) => verdict.authentic)
  const acceptable = verdicts.some((verdict) => verdict.acceptable)
  return {
    'instance-identity': 0,
    configuration: acceptable ? 2 : 36,
    executables: acceptable ? 3 : 33,
    'file-system': 0,
    hardware: authentic ? 2 : 97,
    'runtime-opaque': 0,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
}

function claimsOf(content: TokenContent, guest: AttestedGuest): Record<string, unknown> {
  const { tee, nonce, teePubkey, reportData, verdicts } = content
  const [first] = verdicts.filter(({ acceptable }) => acceptable)
  const fields = (first ?? verdicts[0])?.fields ?? {}
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  return {
    eat_profile: PROFILE,
    eat_nonce: nonce,
    'ear.verifier-id': { developer: 'Attestbed', build: 'attestbed broker' },
    submods: {
      cpu0: {
        'ear.status': first ? 'affirming' : 'contraindicated',
        'ear.trustworthiness-vector': trustworthiness(verdicts),
        'ear.appraisal-policy-id': first?.policy.id ?? 'none',
        'ear.veraison.annotated-evidence': {
          report_data: Buffer.from(reportData).toString('hex'),
          runtime_data_claims: { nonce, 'tee-pubkey': teePubkey },
          // A token goes into a header: what would not fit there is left out.
          ...(JSON.stringify(fields).length <= CLAIMS_LIMIT && { [tee]: fields }),
        },
      },
    },
    attestbed: {
      tee,
      accepted: guest.accepted,
      ...(guest.tpm && { tpm: { ek: base64(guest.tpm.ek), ak: base64(guest.tpm.ak) } }),
    },
  }
}

const payloadSchema = z.object({
  jti: z.string(),
  submods: z.object({
    cpu0: z.object({
      'ear.veraison.annotated-evidence': z.object({
        runtime_data_claims: z.object({
          'tee-pubkey': z.custom<TeePubkey>((value) => typeof value === 'object'),
        }),
      }),
    }),
  }),
  attestbed: z.object({
    tee: z.string(),
    accepted: z.array(z.string()),
    tpm: z.object({ ek: z.string(), ak: z.string() }).optional(),
  }),
})

function guestOf(payload: unknown): AttestedGuest {
  const { jti, submods, attestbed } = payloadSchema.parse(payload)
  const { tee, accepted, tpm } = attestbed
  return {
    ...{ tokenId: jti, tee, accepted },
    teePubkey: submods.cpu0['ear.veraison.annotated-evidence'].runtime_data_claims['tee-pubkey'],
    tpm: tpm && { ek: base64Of(tpm.ek, 'ek'), ak: base64Of(tpm.ak, 'ak') },
  }
}
