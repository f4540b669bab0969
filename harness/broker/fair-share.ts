/**
 * What all clients hold of one thing together, and which of them has to give way. Nobody is held to a fixed part while
 * there is room: behind one address there may be one guest or all of them. Where there is none left, whoever holds most gives
 * way to whoever would hold less, so that one address takes nothing from the next, whatever it does.
 */
import { BrokerRefusal } from './refusal.ts'

/** How much there is, and of what (for the refusal). */
export interface FairShareOptions {
  readonly most: number
  readonly what: string
  /**
   * Part that one address may hold; default 3/4: the rest is left for the next one even where nothing that is held can be
   * taken back.
   */
  readonly ofOnePeer?: number
  /** What was quiet for as long gives way also to its own address, milliseconds; default: nothing does. */
  readonly stallMs?: number
  readonly clock: () => Date
}

/** What one request or connection holds. */
export interface Holding {
  /** Throws BrokerRefusal `too-many-requests`; what was held before is held until `release`. */
  take(amount: number): void
  /** From now on nobody takes it back. */
  keep(): void
  /** Also of what was taken back, and twice: does no harm. */
  release(): void
}

interface Held {
  readonly peer: Peer
  readonly giveWay: (error: BrokerRefusal) => void
  amount: number
  /** Of the last `take`. */
  at: number
}

interface Peer {
  amount: number
  /** What may be taken back, the one that was quiet for longest first. */
  readonly open: Set<Held>
  holdings: number
}

export class FairShare {
  readonly #options: FairShareOptions
  readonly #peers = new Map<string, Peer>()
  #taken = 0

  constructor(options: FairShareOptions) {
    this.#options = options
  }

  /** What all hold. */
  get taken(): number {
    return this.#taken
  }

  /** `giveWay` is called once at most, after what was held has been given back. */
  open(name: string, giveWay: (error: BrokerRefusal) => void): Holding {
    const peer = this.#peers.get(name) ?? { amount: 0, open: new Set(), holdings: 0 }
    this.#peers.set(name, peer)
    peer.holdings += 1
    const held: Held = { peer, giveWay, amount: 0, at: this.#now() }
    peer.open.add(held)
    let isReleased = false
    return {
      take: (amount) => this.#take(held, amount),
      keep: () => void peer.open.delete(held),
      release: () => {
        if (isReleased) return
        isReleased = true
        this.#giveBack(held)
        peer.holdings -= 1
        if (peer.holdings === 0) this.#peers.delete(name)
      },
    }
  }

  #take(held: Held, amount: number): void {
    const { peer } = held
    const { most, ofOnePeer = 3 / 4 } = this.#options
    for (;;) {
      const isOverShare = peer.amount + amount > most * ofOnePeer
      if (!isOverShare && this.#taken + amount <= most) break
      const victim = (isOverShare ? undefined : this.#richerThan(peer, amount)) ?? this.#stalledOf(held)
      if (victim === undefined) throw this.#refusal()
      this.#giveBack(victim)
      victim.giveWay(this.#refusal())
    }
    this.#taken += amount
    peer.amount += amount
    held.amount += amount
    held.at = this.#now()
    // To the end of the order of those that are quiet.
    if (peer.open.delete(held)) peer.open.add(held)
  }

  /** Of the peer that holds most, if that is more than `peer` would hold then. */
  #richerThan(peer: Peer, amount: number): Held | undefined {
    let richest: Peer | undefined
    for (const other of this.#peers.values())
      if (other.open.size > 0 && other.amount > (richest?.amount ?? peer.amount + amount)) richest = other
    return richest?.open.values().next().value
  }

  #stalledOf(held: Held): Held | undefined {
    const { stallMs = Number.POSITIVE_INFINITY } = this.#options
    for (const other of held.peer.open)
      if (other !== held) return this.#now() - other.at >= stallMs ? other : undefined
    return undefined
  }

  #giveBack(held: Held): void {
    this.#taken -= held.amount
    held.peer.amount -= held.amount
    held.amount = 0
    held.peer.open.delete(held)
  }

  #now(): number {
    return this.#options.clock().getTime()
  }

  #refusal(): BrokerRefusal {
    return new BrokerRefusal('too-many-requests', `too many ${this.#options.what} at once; try again later`)
  }
}
