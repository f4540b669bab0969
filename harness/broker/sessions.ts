/**
 * Exchanges that are under way and those that were attested. All of it is in memory, bounded in number and time: a
 * client that opens thousands of sessions pushes out its own, or others of its address, and one with thousands of attestations
 * that no policy accepts others of the kind; never one that may have a resource.
 */
import { randomBytes } from 'node:crypto'
import { sha256Hex } from '../base/digest.ts'
import type { HashAlgorithm } from './protocol/messages.ts'
import { BrokerRefusal } from './refusal.ts'
import type { AttestedGuest } from './tokens.ts'

/** How many, and for how long. */
export interface SessionLimits {
  /** Between auth and attest; default 10,000. When another comes, the oldest goes of the address that has most. */
  readonly maxPending: number
  /**
   * Attested, and let have something by a policy; default 10,000. None is pushed out: the next attestation is refused until
   * one expires. Those that no policy lets have anything push out one another, and there are as many as may be pending.
   */
  readonly maxAttested: number
  /** Default 300,000 (Trustee: 5 minutes). */
  readonly sessionMs: number
}

/** Defaults of a stand-alone server. */
export const SESSION_LIMITS: SessionLimits = { maxPending: 10_000, maxAttested: 10_000, sessionMs: 300_000 }

/** After auth. */
export interface PendingSession {
  /** SHA-256 of the cookie's value: what the log calls the session. */
  readonly id: string
  readonly tee: string
  readonly algorithm: HashAlgorithm
  /** 32 bytes in base64. */
  readonly nonce: string
  readonly expires: number
  /** Whom it counts for. */
  readonly network: string
}

/** After attest. */
export interface AttestedSession {
  readonly id: string
  readonly guest: AttestedGuest
  readonly expires: number
}

/** Whether evidence is awaited, and if not, why. */
export interface Claim extends Disposable {
  readonly refusal: BrokerRefusal | undefined
}

const refused = (refusal: BrokerRefusal): Claim => ({ refusal, [Symbol.dispose]: () => {} })
const tooOld = () =>
  new BrokerRefusal('session-expired', 'the session of this cookie has ended: its nonce is too old')
const noSession = () =>
  new BrokerRefusal('no-session', 'there is no session of this cookie that waits for evidence')

const COOKIE_BYTES = 16
const NONCE_BYTES = 32

export class Sessions {
  readonly #limits: SessionLimits
  /** All in the order of their ends, since all live equally long. */
  readonly #pending = new Map<string, PendingSession>()
  readonly #attested = new Map<string, AttestedSession>()
  /** Authentic, and no policy accepts it: it is told so, and may be forgotten. */
  readonly #unaccepted = new Map<string, AttestedSession>()
  /** Ids of the pending ones of each address, in the same order. */
  readonly #networks = new Map<string, Set<string>>()
  /** Ids of those whose evidence is coming in. */
  readonly #read = new Set<string>()
  /** Attestations that are being verified hold a place. */
  #reserved = 0

  constructor(limits: Partial<SessionLimits> = {}) {
    this.#limits = { ...SESSION_LIMITS, ...limits }
  }

  get counts(): { readonly pending: number; readonly attested: number } {
    return { pending: this.#pending.size, attested: this.#attested.size + this.#unaccepted.size }
  }

  /** The cookie is 32 hex digits, as Trustee's (a UUID without dashes); it is not kept. */
  open(
    { tee, algorithm, network }: Pick<PendingSession, 'tee' | 'algorithm' | 'network'>,
    now: Date,
  ): { readonly cookie: string; readonly session: PendingSession } {
    this.#sweep(now)
    if (this.#pending.size >= this.#limits.maxPending) this.#forgetPending(this.#oldestOfLargest())
    const cookie = randomBytes(COOKIE_BYTES).toString('hex')
    const nonce = randomBytes(NONCE_BYTES).toString('base64')
    const expires = now.getTime() + this.#limits.sessionMs
    const session = { id: sha256Hex(cookie), tee, algorithm, nonce, expires, network }
    this.#pending.set(session.id, session)
    const ids = this.#networks.get(network) ?? new Set()
    this.#networks.set(network, ids.add(session.id))
    return { cookie, session }
  }

  #oldestOfLargest(): string {
    let largest: ReadonlySet<string> = new Set()
    for (const ids of this.#networks.values()) if (ids.size > largest.size) largest = ids
    const [oldest = ''] = largest
    return oldest
  }

  #forgetPending(id: string): void {
    const { network = '' } = this.#pending.get(id) ?? {}
    this.#pending.delete(id)
    const ids = this.#networks.get(network)
    ids?.delete(id)
    if (ids?.size === 0) this.#networks.delete(network)
  }

  /**
   * Before the evidence is read: is there a session that waits for it? It stays, since it is used up by whole evidence only.
   * One body of a session is read at a time. Dispose of what comes back when the reading has ended.
   */
  claim(cookie: string | undefined, now: Date): Claim {
    if (cookie === undefined) return refused(new BrokerRefusal('no-session', 'cookie not found'))
    const id = sha256Hex(cookie)
    const session = this.#pending.get(id)
    if (session === undefined) return refused(noSession())
    if (session.expires <= now.getTime()) return refused(tooOld())
    if (this.#read.has(id)) return refused(noSession())
    this.#read.add(id)
    return { refusal: undefined, [Symbol.dispose]: () => void this.#read.delete(id) }
  }

  /**
   * Takes the session of a cookie: whatever comes of the attestation, its nonce is used up. Throws BrokerRefusal
   * `no-session`, `session-expired` while it is still known, `too-many-sessions`. Whoever takes one calls `attested` or `give up` once.
   */
  take(cookie: string, now: Date): PendingSession {
    const id = sha256Hex(cookie)
    const session = this.#pending.get(id)
    this.#sweep(now)
    if (session !== undefined && !this.#pending.has(id)) throw tooOld()
    if (session === undefined) throw noSession()
    if (this.#attested.size + this.#reserved >= this.#limits.maxAttested)
      throw new BrokerRefusal(
        'too-many-sessions',
        'as many guests are attested as the broker keeps; try again later',
      )
    this.#forgetPending(id)
    this.#reserved += 1
    return session
  }

  /** The attestation of a session that was taken came to nothing. */
  giveUp(): void {
    this.#reserved -= 1
  }

  /** The session lives once more as long from now on. */
  attested({ id }: PendingSession, guest: AttestedGuest, now: Date): void {
    this.#reserved -= 1
    const isAccepted = guest.accepted.length > 0
    const [oldest = ''] = this.#unaccepted.keys()
    if (!isAccepted && this.#unaccepted.size >= this.#limits.maxPending) this.#unaccepted.delete(oldest)
    const expires = now.getTime() + this.#limits.sessionMs
    ;(isAccepted ? this.#attested : this.#unaccepted).set(id, { id, guest, expires })
  }

  /** Throws BrokerRefusal `not-attested`. */
  find(cookie: string, now: Date): AttestedSession {
    this.#sweep(now)
    const id = sha256Hex(cookie)
    const session = this.#attested.get(id) ?? this.#unaccepted.get(id)
    if (session) return session
    throw new BrokerRefusal('not-attested', 'there is no attested session of this cookie')
  }

  #sweep(now: Date): void {
    const at = now.getTime()
    for (const id of endedBy(this.#pending, at)) this.#forgetPending(id)
    for (const map of [this.#attested, this.#unaccepted]) for (const id of endedBy(map, at)) map.delete(id)
  }
}

function* endedBy(map: ReadonlyMap<string, { readonly expires: number }>, at: number): Iterable<string> {
  for (const [id, { expires }] of map) {
    if (expires > at) return
    yield id
  }
}
