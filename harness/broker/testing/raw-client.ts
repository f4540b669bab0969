/** A client that writes whatever bytes it likes into a TLS connection. */
import { connect, type TLSSocket } from 'node:tls'

/** One connection, and all that came back on it. */
export interface RawConnection {
  readonly socket: TLSSocket
  /** Resolves when the server has closed it; fails after 20 s. */
  readonly ended: Promise<string>
  /** Everything that has come so far. */
  received(): string
}

export async function rawConnection(
  port: number | undefined,
  certificatePem: string,
  localAddress = '127.0.0.1',
): Promise<RawConnection> {
  const there = { host: '127.0.0.1', port: port ?? 0, localAddress }
  const socket = connect({ ...there, ca: certificatePem, servername: 'localhost' })
  let text = ''
  socket.on('data', (piece: Buffer) => {
    text += piece.toString('latin1')
  })
  // A server that closes while we write resets the connection: what it answered counts.
  socket.on('error', () => {})
  const ended = new Promise<string>((resolve, reject) => {
    const deadline = setTimeout(() => {
      socket.destroy()
      reject(new Error(`the server kept the connection for 20 s; so far: ${text}`))
    }, 20_000)
    socket.once('close', () => {
      clearTimeout(deadline)
      resolve(text)
    })
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('close', () => reject(new Error('the connection was refused')))
  })
  return { socket, ended, received: () => text }
}

/** Status codes of the answers in what came, in their order. */
export function statuses(text: string): readonly number[] {
  return [...text.matchAll(/HTTP\/1[.]1 (\d{3}) /g)].map(([, status]) => Number(status))
}
