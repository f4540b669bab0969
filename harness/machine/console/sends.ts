/** One thing that was sent to the guest; `text` is absent for a secret. */
export interface SendRecord {
  /** Milliseconds since the console was opened. */
  readonly ms: number
  readonly bytes: number
  /** Latin-1 of the bytes. */
  readonly text?: string
}

const KEPT = 1000

/** What was sent, so that a scenario can claim that nothing was typed. Keeps the last 1000 records, counts all. */
export class Sends {
  #bytes = 0
  readonly #records: SendRecord[] = []

  get bytes(): number {
    return this.#bytes
  }

  get records(): readonly SendRecord[] {
    return this.#records
  }

  add(record: SendRecord): void {
    this.#bytes += record.bytes
    this.#records.push(record)
    if (this.#records.length > KEPT) this.#records.shift()
  }
}
