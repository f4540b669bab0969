/** The host's end of a guest's way to its broker: one port, and whoever it leads to at the moment. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Scope } from '../../system/scope.ts'

const LOOPBACK = '127.0.0.1'

export class BrokerLine {
  /** On the loopback; the same as long as the line is there. */
  readonly hostPort: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #port: number | undefined
  readonly #arrivals: number[] = []
  /** Called at each arrival. */
  #waiting: (() => void)[] = []

  private constructor(server: Server, hostPort: number) {
    this.#server = server
    this.hostPort = hostPort
    server.on('connection', (guest) => this.#carry(guest))
  }

  /** Leads nowhere until `leadTo` is called; cut when the scope closes. */
  static async open(scope: Scope): Promise<BrokerLine> {
    const server = createServer({ allowHalfOpen: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, LOOPBACK, resolve)
    })
    const address = server.address()
    const line = new BrokerLine(server, typeof address === 'object' && address ? address.port : 0)
    scope.defer('the way to the broker', () => line.#close())
    return line
  }

  /** When guests connected so far, in milliseconds of a clock that never goes back. */
  get arrivals(): readonly number[] {
    return this.#arrivals
  }

  /** Whether guests have connected so often, ever, within the time; resolves as soon as they have. */
  async arrived(times: number, { deadlineMs }: { readonly deadlineMs: number }): Promise<boolean> {
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      this.#wake()
    }, deadlineMs)
    try {
      while (this.#arrivals.length < times && !isLate)
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      return this.#arrivals.length >= times
    } finally {
      clearTimeout(late)
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Where connections lead from now on: a port of the loopback; undefined: they are cut at once. */
  leadTo(port: number | undefined): void {
    this.#port = port
  }

  #carry(guest: Socket): void {
    this.#arrivals.push(performance.now())
    this.#wake()
    this.#keep(guest)
    if (this.#port === undefined) {
      guest.destroy()
      return
    }
    const broker = connect({ host: LOOPBACK, port: this.#port, allowHalfOpen: true })
    this.#keep(broker)
    guest.pipe(broker)
    broker.pipe(guest)
    // One end that is gone takes the other with it: neither waits for what nobody sends any more.
    guest.on('close', () => broker.destroy())
    broker.on('close', () => guest.destroy())
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    // What broke shows as a connection that closed.
    socket.on('error', () => {})
  }

  async #close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
