/** What a client may take of the broker. */
import { isIPv6 } from 'node:net'
import { BrokerRefusal } from './refusal.ts'
import { SESSION_LIMITS, type SessionLimits } from './sessions.ts'

/** Sizes in bytes, times in milliseconds. */
export interface BrokerLimits extends SessionLimits {
  /** Body of auth; default 16 KiB. */
  readonly authBytes: number
  /** Body of attest; default 2 MiB: a TDX event log in base64 is the largest part. */
  readonly attestBytes: number
  /**
   * Bodies of all clients that are being read or judged; default 64 MiB. Any number of connections may send as much as one
   * may: the sum is what fits into memory. One address has at most three quarters of it, and gives way to others.
   */
  readonly bodiesBytes: number
  /** Body of attest of who has no session that waits for it, or one that is being read already; default 64 KiB. */
  readonly strangerBytes: number
  /** A body that nothing came of for as long gives way to others of its own address when there is no room; default 2,000. */
  readonly stallMs: number
  /** Request line and headers; default 16 KiB. */
  readonly headerBytes: number
  /** For the headers; default 10,000. */
  readonly headersMs: number
  /** For the whole request; default 30,000. */
  readonly requestMs: number
  /** Idle connection; default 5,000. */
  readonly keepAliveMs: number
  /** Connections at once; default 2,000. The address that holds most gives way to others. */
  readonly connections: number
  /** Requests of a peer, on average; default 1,000. */
  readonly requestsPerSecond: number
  /** Requests that a peer may make at once before the rate counts; default 4,000. */
  readonly burst: number
}

/** Defaults of a stand-alone server. */
export const BROKER_LIMITS: BrokerLimits = {
  ...SESSION_LIMITS,
  ...{
    authBytes: 16 * 1024,
    attestBytes: 2 * 1024 * 1024,
    bodiesBytes: 64 * 1024 * 1024,
    strangerBytes: 64 * 1024,
    headerBytes: 16 * 1024,
  },
  ...{ headersMs: 10_000, requestMs: 30_000, keepAliveMs: 5_000, stallMs: 2_000, connections: 2_000 },
  ...{ requestsPerSecond: 1_000, burst: 4_000 },
}

interface Bucket {
  tokens: number
  at: number
}

/** Peers that are remembered; more of them at once share no memory of ours. */
const MAX_PEERS = 10_000

/** A token bucket a peer. An IPv6 peer is its /64: a client has all of one. */
export class RateLimit {
  readonly #perSecond: number
  readonly #burst: number
  readonly #buckets = new Map<string, Bucket>()

  constructor({ requestsPerSecond, burst }: Pick<BrokerLimits, 'requestsPerSecond' | 'burst'>) {
    this.#perSecond = requestsPerSecond
    this.#burst = burst
  }

  /** Throws BrokerRefusal `too-many-requests`. */
  count(peer: string, now: Date): void {
    const name = networkOf(peer)
    const at = now.getTime()
    const bucket = this.#buckets.get(name) ?? { tokens: this.#burst, at }
    const gained = (Math.max(0, at - bucket.at) * this.#perSecond) / 1000
    const tokens = Math.min(this.#burst, bucket.tokens + gained)
    // The latest last, so that the first is the one that was quiet for longest.
    this.#buckets.delete(name)
    const [quietest] = this.#buckets.keys()
    if (quietest !== undefined && this.#buckets.size >= MAX_PEERS) this.#buckets.delete(quietest)
    this.#buckets.set(name, { tokens: tokens >= 1 ? tokens - 1 : tokens, at })
    if (tokens < 1)
      throw new BrokerRefusal(
        'too-many-requests',
        `more than ${this.#perSecond} requests a second; try again later`,
      )
  }
}

/** Whom a limit counts as one: an IPv4 address, the /64 of an IPv6 address. */
export function networkOf(peer: string): string {
  const mapped = /^::ffff:(\d+[.]\d+[.]\d+[.]\d+)$/.exec(peer)?.[1]
  if (mapped) return mapped
  return isIPv6(peer) ? groupsOf(peer).slice(0, 4).join(':') : peer
}

const GROUPS = 8

/** As RFC 5952 writes an address: `::` stands for as many groups of zeros as are missing. */
function groupsOf(address: string): readonly string[] {
  const [plain = ''] = address.split('%')
  const [head = '', tail] = plain.split('::')
  const left = head.split(':').filter(Boolean)
  const right = tail?.split(':').filter(Boolean) ?? []
  return [...left, ...Array.from({ length: GROUPS - left.length - right.length }, () => '0'), ...right]
}
