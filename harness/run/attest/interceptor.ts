/** A host that ends the guest's TLS itself, with a certificate of its own, and goes on to a broker. */
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { makeServerCertificate } from '../../broker/index.ts'

const LOOPBACK = '127.0.0.1'

export interface Interceptor extends AsyncDisposable {
  readonly port: number
  /** How often somebody connected to it. */
  readonly connections: number
  /** What it read in clear, in pieces. */
  readonly requests: number
}

/** Certificate and key of a TLS server, PEM. */
export interface TlsIdentity {
  readonly certificatePem: string
  readonly keyPem: string
}

/**
 * `broker`: the port, at the moment, of the one that it goes on to. `identity`: that it shows in place of one of its own.
 */
export async function interceptTls(
  broker: () => number | undefined,
  identity?: TlsIdentity,
): Promise<Interceptor> {
  const { certificatePem: cert, keyPem: key } = identity ?? (await freshTlsIdentity())
  const sockets = new Set<TLSSocket>()
  let requests = 0
  let connections = 0
  const keep = (socket: TLSSocket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  }
  const server = createServer({ cert, key, minVersion: 'TLSv1.2' }, (guest) => {
    keep(guest)
    const port = broker()
    if (port === undefined) return void guest.destroy()
    // It need not know the broker: whom it deceives is the guest.
    const onward = connect({ host: LOOPBACK, port, rejectUnauthorized: false })
    keep(onward)
    guest.on('data', () => {
      requests += 1
    })
    guest.pipe(onward).pipe(guest)
  })
  server.on('connection', () => {
    connections += 1
  })
  server.on('tlsClientError', (_, socket) => socket.destroy())
  const port = await listen(server)
  return {
    port,
    get connections() {
      return connections
    },
    get requests() {
      return requests
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/** A self-signed one that nobody has seen before. */
export async function freshTlsIdentity(): Promise<TlsIdentity> {
  const { certificatePem, keyPem } = await makeServerCertificate({ names: [LOOPBACK], now: new Date() })
  return { certificatePem, keyPem }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, LOOPBACK, resolve)
  })
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}
