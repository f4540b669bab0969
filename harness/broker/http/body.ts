/** Bodies and headers of requests, read by their bytes: what a library would normalize is what tricks are made of. */
import type { IncomingMessage } from 'node:http'
import type { FairShare, Holding } from '../fair-share.ts'
import { BrokerRefusal } from '../refusal.ts'

/** How long a body may be, where it counts, and as whose. */
export interface BodyLimits {
  readonly maxBytes: number
  /** A longer one is read to its end, so that its sender gets the answer, and thrown away; default `maxBytes`. */
  readonly keptBytes?: number
  readonly budget: FairShare
  readonly network: string
}

/**
 * What `then` makes of the whole body, which counts until that is done, byte by byte as it comes: nothing is set aside for a
 * length that is only announced. Throws BrokerRefusal `body-too-large`, also before anything was sent where the length is
 * announced; `malformed-request` where the client ends early; `too-many-requests` where those of all clients are too much,
 * also in the middle of a body that has to give way.
 */
export async function withBody<Result>(
  incoming: IncomingMessage,
  { budget, network, ...limits }: BodyLimits,
  then: (body: Buffer) => Promise<Result>,
): Promise<Result> {
  const abort = new AbortController()
  const held = budget.open(network, (error) => abort.abort(error))
  try {
    const body = await readBody(incoming, { ...limits, held, giveWay: abort.signal })
    return await then(body)
  } finally {
    held.release()
  }
}

interface Reading extends Pick<BodyLimits, 'maxBytes' | 'keptBytes'> {
  readonly held: Holding
  readonly giveWay: AbortSignal
}

function readBody(
  incoming: IncomingMessage,
  { maxBytes, keptBytes = maxBytes, held, giveWay }: Reading,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const announced = Number(incoming.headers['content-length'] ?? 0)
    const pieces: Buffer[] = []
    let length = 0
    let isRead = false
    const refuse = (error: unknown) => {
      // The rest is thrown away as it comes; the answer closes the connection.
      incoming.removeAllListeners('data').resume()
      pieces.length = 0
      reject(error)
    }
    const tooLarge = (most: number) =>
      new BrokerRefusal('body-too-large', `the body has more than ${most} bytes`)
    if (announced > maxBytes) return refuse(tooLarge(maxBytes))
    // An error costs as much as a signature, and every body's connection closes some day.
    const cutOff = () => {
      if (!isRead) reject(new BrokerRefusal('malformed-request', 'the body ends before its length'))
    }
    giveWay.addEventListener('abort', () => refuse(giveWay.reason), { once: true })
    incoming.on('data', (piece: Buffer) => {
      length += piece.length
      if (length > maxBytes) return refuse(tooLarge(maxBytes))
      if (length > keptBytes) {
        pieces.length = 0
        return held.release()
      }
      try {
        held.take(piece.length)
      } catch (error) {
        return refuse(error)
      }
      pieces.push(piece)
    })
    incoming.once('end', () => {
      if (!incoming.complete) return cutOff()
      if (length > keptBytes) return reject(tooLarge(keptBytes))
      held.keep()
      isRead = true
      resolve(Buffer.concat(pieces))
    })
    incoming.once('error', cutOff)
    incoming.once('close', cutOff)
  })
}

/** JSON, with or without a charset. Throws BrokerRefusal `wrong-media-type`. */
export function mustBeJson({ headers }: IncomingMessage): void {
  const [type = ''] = (headers['content-type'] ?? '').split(';')
  if (type.trim().toLowerCase() === 'application/json') return
  throw new BrokerRefusal('wrong-media-type', 'the body must be application/json')
}

/**
 * Exactly as it was sent: no escape, no empty or dotted part. A client of this protocol needs none of them, and an
 * escaped slash is a path to one reader and a name to the next. Throws BrokerRefusal `bad-path`.
 */
export function plainPath({ url = '' }: IncomingMessage): string {
  const [path = ''] = url.split('?', 1)
  const parts = path.split('/').slice(1)
  const isPlain =
    path.startsWith('/') &&
    parts.every((part) => /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(part) || isHidden(part))
  if (isPlain) return path
  throw new BrokerRefusal('bad-path', 'the path of the request has characters or parts that no resource has')
}

/** `/.well-known/...` */
function isHidden(part: string): boolean {
  return part === '.well-known'
}

const COOKIE = 'kbs-session-id'

/** Undefined where none is sent. Throws BrokerRefusal `malformed-request` for two of them: which one would count? */
export function sessionCookie({ headers }: IncomingMessage): string | undefined {
  const values = (headers.cookie ?? '').split(';').flatMap((pair) => {
    const at = pair.indexOf('=')
    return at >= 0 && pair.slice(0, at).trim() === COOKIE ? [pair.slice(at + 1).trim()] : []
  })
  if (values.length > 1)
    throw new BrokerRefusal('malformed-request', 'there are several cookies of a session')
  return values[0]
}

/** RFC 6750; undefined where none is sent. */
export function bearerToken({ headers }: IncomingMessage): string | undefined {
  return /^Bearer +([A-Za-z0-9._-]+)$/i.exec(headers.authorization ?? '')?.[1]
}

/** As Trustee sets it, and besides kept from scripts and from connections without TLS. */
export function setCookie(cookie: string, expires: Date): string {
  return `${COOKIE}=${cookie}; Expires=${expires.toUTCString()}; Path=/; Secure; HttpOnly`
}
