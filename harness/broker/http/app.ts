/** The endpoints of the KBS protocol; what they decide is decided elsewhere. */
import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { type Attester, attest, recordRefused } from '../attestation.ts'
import { supportedTee } from '../evidence/primary-evidence.ts'
import { FairShare } from '../fair-share.ts'
import { type BrokerLimits, networkOf, RateLimit } from '../limits.ts'
import { PROTOCOL_VERSION, parseAttestation, parseAuthRequest } from '../protocol/messages.ts'
import { chooseHash } from '../protocol/runtime-data.ts'
import { answerOf, BrokerRefusal } from '../refusal.ts'
import { type Releaser, release } from '../release.ts'
import type { PendingSession, Sessions } from '../sessions.ts'
import { isResourcePath } from '../store/resource-path.ts'
import { bearerToken, mustBeJson, plainPath, sessionCookie, setCookie, withBody } from './body.ts'

/** What the endpoints work with. */
export interface AppParts extends Attester, Releaser {
  readonly clock: () => Date
  readonly limits: BrokerLimits
  readonly sessions: Sessions
  /** Told of each refusal that has no record of its own. */
  readonly refused: (code: string) => void
  /** Told of what is our bug. */
  readonly failed: (error: unknown) => void
}

type Env = { Bindings: HttpBindings }
const PREFIX = '/kbs/v0'
const RESOURCES = `${PREFIX}/resource/`

/** Throws nothing: every request gets an answer with Trustee's body. */
export function makeApp(parts: AppParts): Hono<Env> {
  const app = new Hono<Env>()
  const rate = new RateLimit(parts.limits)
  const { bodiesBytes: most, stallMs } = parts.limits
  const budget = new FairShare({ most, what: 'bodies', stallMs, clock: parts.clock })
  app.use(async ({ env, header }, next) => {
    header('Cache-Control', 'no-store')
    rate.count(peerOf(env), parts.clock())
    plainPath(env.incoming)
    await next()
  })
  app.post(`${PREFIX}/auth`, (context) => {
    const { incoming } = context.env
    mustBeJson(incoming)
    const network = networkOf(peerOf(context.env))
    const limits = { maxBytes: parts.limits.authBytes, budget, network }
    return withBody(incoming, limits, (body) => auth(context, parts, { network, body }))
  })
  app.post(`${PREFIX}/attest`, (context) => {
    mustBeJson(context.env.incoming)
    return attestRequest(context, parts, budget)
  })
  app.get(`${RESOURCES}*`, (context) => resourceStep(context, parts))
  app.get('/health', (context) => context.json({ status: 'ok', sessions: parts.sessions.counts }))
  app.get('/.well-known/jwks.json', (context) => context.json(parts.tokens.keys))
  app.notFound(({ env }) => {
    const known = [`${PREFIX}/auth`, `${PREFIX}/attest`, '/health'].includes(plainPath(env.incoming))
    return refusal(known ? WRONG_METHOD : NOWHERE, parts)
  })
  app.onError((error, { env }) => {
    if (error instanceof BrokerRefusal) {
      if (error.code === 'not-recorded') parts.failed(error.cause)
      return closedUnread(refusal(error, parts), env)
    }
    parts.failed(error)
    return refusal(new BrokerRefusal('internal-error', 'the broker failed; its log says why'), parts)
  })
  return app
}

const WRONG_METHOD = new BrokerRefusal('wrong-method', 'the path is one of the protocol, the method is not')
const NOWHERE = new BrokerRefusal('bad-path', 'there is nothing at this path')

/** The answer to a request that gets nothing. */
export function refusal(error: BrokerRefusal, { refused }: Pick<AppParts, 'refused'>): Response {
  refused(error.code)
  const { status, body } = answerOf(error)
  const headers: Record<string, string> = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
  if (status === 413 || status === 429) headers['Connection'] = 'close'
  return new Response(body, { status, headers })
}

/** What is left of such a request may be as long as its sender likes. */
function closedUnread(response: Response, { incoming }: HttpBindings): Response {
  if (incoming.method === 'POST' && !incoming.complete) response.headers.set('Connection', 'close')
  return response
}

function peerOf({ incoming }: HttpBindings): string {
  return incoming.socket.remoteAddress ?? 'local'
}

async function auth(
  context: Context<Env>,
  { clock, limits, sessions }: AppParts,
  { network, body }: { readonly network: string; readonly body: Buffer },
): Promise<Response> {
  const { version, tee, supportedHashes } = parseAuthRequest(body, limits.authBytes)
  if (version !== PROTOCOL_VERSION)
    throw new BrokerRefusal('version-mismatch', `KBS protocol ${PROTOCOL_VERSION} is required`)
  supportedTee(tee)
  const algorithm = chooseHash(supportedHashes)
  const { cookie, session } = sessions.open({ tee, algorithm, network }, clock())
  context.header('Set-Cookie', setCookie(cookie, new Date(session.expires)))
  // As Trustee: an empty string where nothing was negotiated.
  const extra = supportedHashes ? { 'selected-hash-algorithm': algorithm } : ''
  return context.json({ nonce: session.nonce, 'extra-params': extra })
}

/** Much is read only for a session that waits for it: a stranger gets the same answer for a small part of the memory. */
async function attestRequest(context: Context<Env>, parts: AppParts, budget: FairShare): Promise<Response> {
  const { audit, clock, limits, sessions } = parts
  const { incoming } = context.env
  const cookie = sessionCookie(incoming)
  const peer = peerOf(context.env)
  using claim = sessions.claim(cookie, clock())
  const { refusal: stranger } = claim
  const lengths = { maxBytes: limits.attestBytes, ...(stranger && { keptBytes: limits.strangerBytes }) }
  try {
    return await withBody(incoming, { ...lengths, budget, network: networkOf(peer) }, (body) =>
      attestStep(context, parts, { cookie, body }),
    )
  } catch (error) {
    if (!stranger || !(error instanceof BrokerRefusal) || error.code !== 'body-too-large') throw error
    await recordRefused(undefined, { cookie, peer, at: clock(), code: stranger.code }, audit)
    throw stranger
  }
}

async function attestStep(
  context: Context<Env>,
  parts: AppParts,
  { cookie, body }: { readonly cookie: string | undefined; readonly body: Buffer },
): Promise<Response> {
  const { clock, limits, sessions } = parts
  const attestation = parseAttestation(body, limits.attestBytes)
  const peer = peerOf(context.env)
  let session: PendingSession
  try {
    if (cookie === undefined) throw new BrokerRefusal('no-session', 'cookie not found')
    session = sessions.take(cookie, clock())
  } catch (error) {
    if (error instanceof BrokerRefusal)
      await recordRefused(attestation, { cookie, peer, at: clock(), code: error.code }, parts.audit)
    throw error
  }
  let token: string
  try {
    const issued = await attest(attestation, { session, peer, at: clock() }, parts)
    sessions.attested(session, issued.guest, clock())
    token = issued.token
  } catch (error) {
    sessions.giveUp()
    throw error
  }
  return context.json({ token })
}

async function resourceStep(context: Context<Env>, parts: AppParts): Promise<Response> {
  const { incoming } = context.env
  const path = plainPath(incoming).slice(RESOURCES.length)
  if (!isResourcePath(path))
    throw new BrokerRefusal('bad-path', 'a resource is named <repository>/<type>/<tag>')
  const now = parts.clock()
  const token = bearerToken(incoming)
  const cookie = sessionCookie(incoming)
  if (token !== undefined) {
    const guest = await parts.tokens.read(token, now)
    return context.json(
      await release(path, { guest, session: undefined, peer: peerOf(context.env), at: now }, parts),
    )
  }
  if (cookie === undefined) throw new BrokerRefusal('not-attested', 'Attestation Token not found')
  const { id, guest } = parts.sessions.find(cookie, now)
  return context.json(await release(path, { guest, session: id, peer: peerOf(context.env), at: now }, parts))
}
