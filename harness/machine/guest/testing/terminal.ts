/** A shell on a pseudo terminal, as a guest's serial console. */
import { Duplex } from 'node:stream'
import type { IPty } from 'node-pty'

export type Mangle = (bytes: Buffer) => Buffer

/** A pseudo terminal as a stream; `mangle` changes what the guest prints on its way. */
export class Terminal extends Duplex {
  readonly pty: IPty
  readonly #mangle: Mangle

  constructor(child: IPty, mangle: Mangle) {
    super()
    this.pty = child
    this.#mangle = mangle
    child.onData((data) => this.push(this.#mangle(Buffer.from(data as unknown as Uint8Array))))
    child.onExit(() => this.push(null))
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.pty.write(chunk as unknown as string)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.pty.pid > 1) {
      try {
        process.kill(this.pty.pid, 'SIGKILL')
      } catch {
        // It has ended.
      }
    }
    done(error)
  }
}
