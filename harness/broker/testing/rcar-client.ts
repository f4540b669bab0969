/** A client of the KBS protocol that does what Trustee's does, and whatever else a test asks for; over real TLS. */
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { Agent, type RequestOptions, request } from 'node:https'
import { createSecureContext, type SecureContext } from 'node:tls'
import { type FlattenedJWE, flattenedDecrypt } from 'jose'
import { canonicalJson } from '../protocol/canonical-json.ts'
import type { TeePubkey } from '../protocol/messages.ts'

/** An answer with its body read. */
export interface Answer {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
}

/** `type` without its prefix, and `detail`. */
export function problemOf({ text }: Answer): { readonly type: string; readonly detail: string } {
  const { type, detail } = JSON.parse(text) as { type: string; detail: string }
  return { type: type.replace('https://github.com/confidential-containers/kbs/errors/', ''), detail }
}

/** Where a broker listens, and the certificate that is pinned. */
export interface Target {
  readonly port: number | undefined
  readonly socket?: string
  readonly certificatePem: string
}

/** A program that asks one broker reads its certificate once. */
const trusting = new Map<string, SecureContext>()

function trust(certificatePem: string): SecureContext {
  const known = trusting.get(certificatePem) ?? createSecureContext({ ca: certificatePem })
  trusting.set(certificatePem, known)
  return known
}

/** The key of a guest; P-256 unless another is asked for. */
export interface GuestKey {
  readonly privateKey: KeyObject
  readonly jwk: TeePubkey
}

export function guestKey(kind: 'P-256' | 'P-521' | 'RSA' = 'P-256'): GuestKey {
  if (kind === 'RSA') {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
    return { privateKey, jwk: { kty: 'RSA', alg: 'RSA-OAEP-256', n, e } }
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: kind })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  return { privateKey, jwk: { kty: 'EC', crv: kind, alg: 'ECDH-ES+A256KW', x, y } }
}

/** What the guest's side collects: `reportData` is the digest, 48 bytes with SHA-384. */
export interface EvidenceSource {
  readonly tee: string
  readonly primary: (reportData: Buffer) => unknown
  /** JSON text; default empty. `bound` is the digest without the additional evidence. */
  readonly additional?: (bound: Buffer) => string
  readonly initData?: { readonly format: string; readonly body: string }
}

/** One guest on one connection, kept open between its requests. */
export class RcarClient {
  readonly key: GuestKey
  readonly #target: Target
  readonly #agent: Agent
  cookie: string | undefined
  token: string | undefined

  constructor(target: Target, key: GuestKey = guestKey()) {
    this.#target = target
    this.key = key
    const secureContext = trust(target.certificatePem)
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0, secureContext })
  }

  send(
    method: string,
    path: string,
    options: { body?: string | Buffer; headers?: RequestOptions['headers'] } = {},
  ): Promise<Answer> {
    const { port, socket } = this.#target
    const where = socket === undefined ? { host: '127.0.0.1', port } : { socketPath: socket }
    const headers = { ...(this.cookie && { cookie: `kbs-session-id=${this.cookie}` }), ...options.headers }
    return new Promise((resolve, reject) => {
      const sent = request({
        ...where,
        method,
        path,
        headers,
        agent: this.#agent,
        servername: 'localhost',
      })
      sent.once('error', reject)
      sent.once('response', (response) => {
        const pieces: Buffer[] = []
        response.on('data', (piece: Buffer) => pieces.push(piece))
        response.once('error', reject)
        response.once('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(pieces).toString('utf8'),
          }),
        )
      })
      sent.end(options.body)
    })
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.send('POST', path, { body: JSON.stringify(body), headers: { ...this.#json } })
  }

  get #json(): Record<string, string> {
    return {
      'content-type': 'application/json',
      ...(this.cookie && { cookie: `kbs-session-id=${this.cookie}` }),
    }
  }

  /** Keeps the cookie. */
  async auth(tee: string, extra: unknown = ''): Promise<Answer & { readonly nonce: string }> {
    const answer = await this.post('/kbs/v0/auth', { version: '0.4.0', tee, 'extra-params': extra })
    const [cookie = ''] = answer.headers['set-cookie'] ?? []
    this.cookie = /^kbs-session-id=([^;]+)/.exec(cookie)?.[1] ?? this.cookie
    const nonce = answer.status === 200 ? (JSON.parse(answer.text) as { nonce: string }).nonce : ''
    return { ...answer, nonce }
  }

  /** The message for a nonce, with evidence that is bound to it. */
  attestation(nonce: string, source: EvidenceSource): object {
    const teePubkey = this.key.jwk
    const sha384 = (value: unknown) => createHash('sha384').update(canonicalJson(value)).digest()
    const additional = source.additional?.(sha384({ nonce, 'tee-pubkey': teePubkey })) ?? ''
    const bound = sha384({ 'additional-evidence': additional, nonce, 'tee-pubkey': teePubkey })
    return {
      'init-data': source.initData ?? null,
      'runtime-data': { nonce, 'tee-pubkey': teePubkey },
      'tee-evidence': { primary_evidence: source.primary(bound), additional_evidence: additional },
    }
  }

  /** Auth and attest; keeps cookie and token. */
  async attest(source: EvidenceSource): Promise<Answer> {
    const { nonce } = await this.auth(source.tee)
    const answer = await this.post('/kbs/v0/attest', this.attestation(nonce, source))
    if (answer.status === 200) this.token = (JSON.parse(answer.text) as { token: string }).token
    return answer
  }

  resource(path: string): Promise<Answer> {
    return this.send('GET', `/kbs/v0/resource/${path}`)
  }

  /** By jose, whose code has nothing to do with the broker's. */
  async open({ text }: Answer): Promise<Buffer> {
    const jwe = JSON.parse(text) as FlattenedJWE
    const { plaintext } = await flattenedDecrypt(jwe, this.key.privateKey)
    return Buffer.from(plaintext)
  }

  close(): void {
    this.#agent.destroy()
  }
}
