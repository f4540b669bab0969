/**
 * A scope owns everything that must be undone: processes, sockets, directories. Teardowns run in reverse order
 * of registration, each one even if another failed, so that a broken teardown never leaks what came before it.
 */

interface Teardown {
  readonly what: string
  readonly run: () => void | Promise<void>
}

export class Scope implements AsyncDisposable {
  readonly name: string
  #teardowns: Teardown[] = []
  #closing: Promise<void> | undefined
  #closed = false

  constructor(name: string) {
    this.name = name
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * Registers what undoes `what`; call it before the thing starts where possible. Allowed while the scope closes
   * (it then runs as part of the closing), an error once it is closed: nobody would run it any more.
   */
  defer(what: string, teardown: () => void | Promise<void>): void {
    if (this.#closed) throw new Error(`cannot register '${what}': scope '${this.name}' is already closed`)
    this.#teardowns.push({ what, run: teardown })
  }

  /** A scope that is closed with this one at the latest; closing it earlier forgets it here. */
  child(name: string): Scope {
    const child = new Scope(`${this.name}/${name}`)
    const teardown: Teardown = { what: `scope '${child.name}'`, run: () => child.close() }
    if (this.#closed) throw new Error(`cannot open scope '${child.name}': '${this.name}' is already closed`)
    this.#teardowns.push(teardown)
    child.#onClosed = () => {
      this.#teardowns = this.#teardowns.filter((other) => other !== teardown)
    }
    return child
  }

  #onClosed: () => void = () => {}

  /** Idempotent: every call gives the same promise. Rejects with an AggregateError when teardowns failed. */
  close(): Promise<void> {
    this.#closing ??= this.#runAll()
    return this.#closing
  }

  async #runAll(): Promise<void> {
    const errors: unknown[] = []
    for (let next = this.#teardowns.pop(); next; next = this.#teardowns.pop()) {
      try {
        await next.run()
      } catch (error) {
        errors.push(new Error(`teardown of ${next.what} failed: ${messageOf(error)}`, { cause: error }))
      }
    }
    this.#closed = true
    this.#onClosed()
    if (errors.length > 0) {
      throw new AggregateError(errors, `closing scope '${this.name}': ${errors.map(messageOf).join('; ')}`)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
