import { ConsoleText, MOST_EXTRA_BYTES } from './clean.ts'
import { NeedleSearch } from './needle-search.ts'
import { TextWindow } from './window.ts'

/** Chunks are looked at in slices of so many bytes, so that the window never loses what was not yet scanned. */
const SLICE = 64 * 1024

/** Somebody who looks for text. Offsets are absolute, in the plain text. */
export interface Listener {
  readonly needles: readonly Uint8Array[]
  /** Nothing before this offset concerns it. */
  readonly from: number
  /** The needle with this index ends at `end`, ASCII letters in any case. */
  hit(needle: number, end: number): void
  /** The text up to `end` is there. */
  advance(end: number): void
  /** The same, and the console has been quiet since: the last line may be taken as it is. */
  settle(end: number): void
  /** Whether `settle` could change anything. */
  readonly unsettled: boolean
}

interface Owner {
  readonly listener: Listener
  readonly needle: number
}

/**
 * Feeds plain text to listeners: one pass over the bytes finds the needles of all of them. What listeners are told
 * does not depend on how the stream was cut into chunks.
 */
export class Scanner {
  readonly window: TextWindow
  readonly #text = new ConsoleText()
  readonly #listeners = new Set<Listener>()
  #search: NeedleSearch | undefined
  #owners: readonly (readonly Owner[])[] = []
  /** Offset where the search goes on; everything that ends before it was reported. */
  #searched = 0

  constructor(options: { readonly windowBytes: number }) {
    this.window = new TextWindow(Math.max(options.windowBytes, SLICE + MOST_EXTRA_BYTES))
  }

  get unsettled(): boolean {
    for (const listener of this.#listeners) if (listener.unsettled) return true
    return false
  }

  push(chunk: Uint8Array): void {
    for (let start = 0; start < chunk.length; start += SLICE)
      this.#pushSlice(chunk.subarray(start, start + SLICE))
  }

  settle(): void {
    for (const listener of [...this.#listeners]) listener.settle(this.window.end)
  }

  /** Adds a listener and tells it at once what the window holds from its `from` on. */
  add(listener: Listener): void {
    this.#listeners.add(listener)
    this.#rebuild()
    const from = Math.max(listener.from, this.window.start)
    if (from < this.window.end) this.#searchPast(listener, from)
    if (this.#listeners.has(listener)) listener.advance(this.window.end)
  }

  remove(listener: Listener): void {
    // Its needles stay in the search until the next rebuild; their hits are dropped.
    if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#rebuild()
  }

  #pushSlice(slice: Uint8Array): void {
    const { window } = this
    const from = window.reserve(slice.length + MOST_EXTRA_BYTES)
    const length = this.#text.write(slice, window.buffer, from)
    window.commit(length)
    this.#searchNew()
    for (const listener of this.#listeners) listener.advance(window.end)
  }

  #searchNew(): void {
    const search = this.#search
    if (!search) return
    const { base, buffer, end } = this.window
    const owners = this.#owners
    const range = { from: this.#searched - base, to: end - base, lowest: 0 }
    const next = search.scan(buffer, range, (needle, hitEnd) => {
      for (const owner of owners[needle] ?? []) this.#report(owner, base + hitEnd)
    })
    // A listener may have come during the scan; then another search stands at the end already.
    if (this.#search === search) this.#searched = base + next
  }

  /** What the window already held when the listener came; a match must lie after `from` entirely. */
  #searchPast(listener: Listener, from: number): void {
    const { base, buffer, end } = this.window
    const owners = this.#owners
    this.#search?.scan(buffer, { from: 0, to: end - base, lowest: from - base }, (needle, hitEnd) => {
      for (const owner of owners[needle] ?? []) {
        if (owner.listener === listener) this.#report(owner, base + hitEnd)
      }
    })
  }

  #report(owner: Owner, end: number): void {
    if (this.#listeners.has(owner.listener)) owner.listener.hit(owner.needle, end)
  }

  #rebuild(): void {
    const owners = new Map<string, { bytes: Uint8Array; owners: Owner[] }>()
    for (const listener of this.#listeners) {
      listener.needles.forEach((bytes, needle) => {
        const key = Buffer.from(bytes)
          .toString('latin1')
          .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
        const entry = owners.get(key) ?? { bytes, owners: [] }
        entry.owners.push({ listener, needle })
        owners.set(key, entry)
      })
    }
    const entries = [...owners.values()]
    this.#owners = entries.map((entry) => entry.owners)
    this.#search = entries.length === 0 ? undefined : new NeedleSearch(entries.map((entry) => entry.bytes))
    this.#searched = this.window.end
  }
}
