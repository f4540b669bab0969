/** The broker as a server: HTTPS on an address or a socket, started and stopped. */
import type { RequestListener } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { SnpChainMemory } from '../evidence/snp/chain-memory.ts'
import type { AuditLog } from './audit/record.ts'
import { FairShare } from './fair-share.ts'
import { makeApp, refusal } from './http/app.ts'
import { BROKER_LIMITS, type BrokerLimits, networkOf } from './limits.ts'
import { answerOf, BrokerRefusal, type RefusalCode } from './refusal.ts'
import { knownPolicies, type ReleasePolicy } from './release-policy.ts'
import { Sessions } from './sessions.ts'
import type { ResourceStore } from './store/resource-store.ts'
import { ephemeralTokenKey, type TokenKey, Tokens } from './tokens.ts'

/** All that a broker is: it keeps nothing anywhere else. */
export interface BrokerOptions {
  /** Default loopback, any free port. */
  readonly listen?: { readonly host?: string; readonly port?: number } | { readonly socket: string }
  readonly tls: { readonly certificatePem: string; readonly keyPem: string }
  readonly store: ResourceStore
  /** By resource (`repository/type/tag`). A resource without a policy is never released. */
  readonly policies: ReadonlyMap<string, ReleasePolicy>
  readonly audit: AuditLog
  /** Default the system's. */
  readonly clock?: () => Date
  readonly limits?: Partial<BrokerLimits>
  /** Signs attestation results; default: a key that lives as long as the broker. */
  readonly tokenKey?: TokenKey
  /** Default `attestbed`. */
  readonly issuer?: string
  /** Told of what is a bug of ours or a failing disk; default: nobody. */
  readonly onError?: (error: unknown) => void
}

/** A broker that answers. */
export interface Broker extends AsyncDisposable {
  /** `https://127.0.0.1:PORT`; of a socket `https://localhost`. */
  readonly url: string
  /** Undefined for a socket. */
  readonly port: number | undefined
  /** Takes no more requests, answers what it accepted, then ends; a second call waits for the first. */
  close(): Promise<void>
}

/** After this, whoever has not read its answer loses it. */
const CLOSE_MS = 5_000

/** Throws UsageError `bad-config` for a policy that cannot hold; what `listen` throws where the address is taken. */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { audit, clock = () => new Date(), issuer = 'attestbed', onError = () => {} } = options
  const limits = { ...BROKER_LIMITS, ...options.limits }
  const policies = knownPolicies(options.policies)
  const key = options.tokenKey ?? ephemeralTokenKey()
  const tokens = new Tokens({ key, issuer, lifetimeMs: limits.sessionMs })
  const refusals = new Map<string, number>()
  const refused = (code: string) => void refusals.set(code, (refusals.get(code) ?? 0) + 1)
  const parts = {
    ...{ policies, tokens, audit, store: options.store, sessions: new Sessions(limits) },
    ...{ snpChains: new SnpChainMemory(), clock, limits, refused, failed: onError },
  }
  // What has no URL does not get as far as the endpoints.
  const errorHandler = (): Response =>
    refusal(new BrokerRefusal('malformed-request', 'the request has no URL'), parts)
  const listener = getRequestListener(makeApp(parts).fetch, { errorHandler })
  const server = makeServer(listener as RequestListener, options.tls, limits)
  shareConnections(server, { limits, clock })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    answerBroken(error, socket, refused)
  })
  await audit.append({ event: 'start', time: clock().toISOString() })
  await listen(server, options.listen)
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : undefined
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= closeServer(server).then(() =>
      audit.append({ event: 'stop', time: clock().toISOString(), refusals: Object.fromEntries(refusals) }),
    )
    return closing
  }
  return { url: urlOf(options.listen, port), port, close, [Symbol.asyncDispose]: close }
}

function makeServer(
  listener: RequestListener,
  { certificatePem, keyPem }: BrokerOptions['tls'],
  limits: BrokerLimits,
): Server {
  const server = createServer(
    {
      ...{ cert: certificatePem, key: keyPem, minVersion: 'TLSv1.2', handshakeTimeout: limits.headersMs },
      ...{
        maxHeaderSize: limits.headerBytes,
        headersTimeout: limits.headersMs,
        requestTimeout: limits.requestMs,
      },
      ...{
        keepAliveTimeout: limits.keepAliveMs,
        connectionsCheckingInterval: Math.min(1000, limits.headersMs),
      },
      ...{ insecureHTTPParser: false, noDelay: true },
    },
    listener,
  )
  return server
}

/** Idle, slow or in its handshake: a connection of whom holds most of them makes room for one of another address. */
function shareConnections(
  server: Server,
  { limits, clock }: { readonly limits: BrokerLimits; readonly clock: () => Date },
): void {
  const share = new FairShare({ most: limits.connections, ofOnePeer: 1, what: 'connections', clock })
  server.on('connection', (socket: Socket) => {
    const close = () => void socket.destroy()
    const held = share.open(networkOf(socket.remoteAddress ?? 'local'), close)
    socket.once('close', held.release)
    try {
      held.take(1)
    } catch {
      close()
    }
  })
}

async function listen(server: Server, where: BrokerOptions['listen'] = {}): Promise<void> {
  const target =
    'socket' in where ? { path: where.socket } : { host: where.host ?? '127.0.0.1', port: where.port ?? 0 }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(target, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function urlOf(where: BrokerOptions['listen'] = {}, port: number | undefined): string {
  if ('socket' in where) return 'https://localhost'
  const { host = '127.0.0.1' } = where
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`
}

const BROKEN: Readonly<Record<string, RefusalCode>> = {
  HPE_HEADER_OVERFLOW: 'headers-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'too-slow',
}
const WORDS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

/** What is not HTTP, too large in its headers, or too slow: answered by hand, since there is no request. */
function answerBroken(error: NodeJS.ErrnoException, socket: Duplex, refused: (code: string) => void): void {
  const isHttp = error.code?.startsWith('HPE_') || error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  // Without a handshake there is nobody to talk to, and after a reset nobody either.
  if (!isHttp || !socket.writable) return void socket.destroy()
  const code = BROKEN[error.code ?? ''] ?? 'malformed-request'
  refused(code)
  const { status, body } = answerOf(new BrokerRefusal(code, 'the request cannot be read'))
  const head = [
    `HTTP/1.1 ${status} ${WORDS[status] ?? 'Error'}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const force = setTimeout(() => server.closeAllConnections(), CLOSE_MS)
  await closed
  clearTimeout(force)
}
