/**
 * A TLS connection to a guest that proves, in this very session, that the session's key is its own. Certificates decide
 * nothing here: whoever copied one has no evidence for the key behind it, or no such key.
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { connect, type TLSSocket } from 'node:tls'
import { FormatError, TimeoutError } from '../../base/errors.ts'
import type { Verdict } from '../../evidence/verify-evidence.ts'
import {
  type AttestationDemand,
  MOST_ANSWER_BYTES,
  parseTlsAttestation,
  TLS_NONCE_BYTES,
  type TlsAttestation,
  verifyTlsAttestation,
} from './tls-attestation.ts'

const DEADLINE_MS = 60_000
const MOST_HEAD_BYTES = 4096
const END_OF_HEAD = '\r\n\r\n'

/** Where the service is: a port, or a unix socket that leads to it. */
export type ServiceAddress = { readonly host: string; readonly port: number } | { readonly path: string }

export interface ConnectionOptions {
  /** From the start of the connection to the last byte of the answer; default 60 s. */
  readonly deadlineMs?: number
}

/** Another end that is not trusted yet. */
export interface UnattestedConnection {
  readonly socket: TLSSocket
  /** SubjectPublicKeyInfo (DER) of the key that signed this session's handshake. */
  readonly publicKey: Buffer
  /** SHA-256 of its certificate, hex. */
  readonly certificate: string
}

export interface AttestedConnection extends UnattestedConnection {
  readonly verdict: Verdict
}

/**
 * Connects, asks for evidence with a nonce of its own, and verifies it for the key of this session. Nothing of the caller's
 * has been sent when it resolves, and nothing is left to be read. Throws AppraiseError where the evidence is refused,
 * FormatError, TimeoutError, and what the connection breaks for; the connection is closed then.
 */
export async function attestedConnection(
  address: ServiceAddress,
  { deadlineMs = DEADLINE_MS, ...demand }: AttestationDemand & ConnectionOptions,
): Promise<AttestedConnection> {
  const connection = await unattestedConnection(address, { deadlineMs })
  try {
    const nonce = randomBytes(TLS_NONCE_BYTES)
    const attestation = await askForAttestation(connection, nonce, { deadlineMs })
    const { publicKey } = connection
    const verdict = await verifyTlsAttestation(attestation, { ...demand, nonce, publicKey })
    return { ...connection, verdict }
  } catch (error) {
    connection.socket.destroy()
    throw error
  }
}

/** TLS 1.3, a full handshake, with anybody. */
export async function unattestedConnection(
  address: ServiceAddress,
  { deadlineMs = DEADLINE_MS }: ConnectionOptions = {},
): Promise<UnattestedConnection> {
  // Whom it is with, evidence decides.
  const socket = connect({ ...address, rejectUnauthorized: false, minVersion: 'TLSv1.3' })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(late('the TLS handshake', deadlineMs)), deadlineMs)
  socket.once('secureConnect', resolve)
  socket.once('error', reject)
  socket.once('close', () => reject(closed('before the TLS handshake was done')))
  try {
    await promise
    const raw = socket.getPeerX509Certificate()?.raw
    if (raw === undefined) throw closed('without a certificate')
    // From now on an error shows as the end of whatever is awaited.
    socket.on('error', () => socket.destroy())
    const { publicKey, fingerprint256 } = new X509Certificate(raw)
    return {
      socket,
      publicKey: publicKey.export({ type: 'spki', format: 'der' }),
      certificate: fingerprint256.replaceAll(':', '').toLowerCase(),
    }
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** `nonce`: 32 bytes. What comes back is not verified yet. Throws FormatError, TimeoutError. */
export async function askForAttestation(
  { socket }: UnattestedConnection,
  nonce: Uint8Array,
  options: ConnectionOptions = {},
): Promise<TlsAttestation> {
  return parseTlsAttestation(await ask(socket, `/attestation/${Buffer.from(nonce).toString('hex')}`, options))
}

/** Body of the answer to one GET request (HTTP/1.1, with a Content-Length). Throws as `askForAttestation`. */
export async function ask(
  socket: TLSSocket,
  path: string,
  { deadlineMs = DEADLINE_MS }: ConnectionOptions = {},
): Promise<Buffer> {
  const answer = readAnswer(socket, deadlineMs)
  socket.write(`GET ${path} HTTP/1.1\r\nHost: attested.example\r\n\r\n`)
  return answer
}

function readAnswer(socket: TLSSocket, deadlineMs: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  let seen = Buffer.alloc(0)
  const onData = (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk])
    try {
      const body = wholeAnswer(seen)
      if (body) resolve(body)
    } catch (error) {
      reject(error)
    }
  }
  const onClose = () => reject(closed('in the middle of its answer'))
  const timer = setTimeout(() => reject(late('the answer of the service', deadlineMs)), deadlineMs)
  socket.on('data', onData)
  socket.resume()
  socket.once('close', onClose)
  return promise.finally(() => {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('close', onClose)
    socket.pause()
  })
}

/** Undefined until all of it is there. More than one answer is a mistake: nobody asked for it. Pure. */
export function wholeAnswer(seen: Buffer): Buffer | undefined {
  const end = seen.indexOf(END_OF_HEAD)
  if (end < 0 && seen.length <= MOST_HEAD_BYTES) return undefined
  if (end < 0 || end > MOST_HEAD_BYTES) throw bad('head', `its head has more than ${MOST_HEAD_BYTES} bytes`)
  const [status = '', ...fields] = seen.toString('latin1', 0, end).split('\r\n')
  if (!/^HTTP\/1\.1 200(?: |$)/.test(status)) throw bad('status', 'it is no "HTTP/1.1 200"')
  const lengths = fields.flatMap((field) => /^content-length: *(\d{1,9}) *$/i.exec(field)?.[1] ?? [])
  const length = Number(lengths[0])
  if (lengths.length !== 1 || length > MOST_ANSWER_BYTES)
    throw bad('Content-Length', `one is required, of at most ${MOST_ANSWER_BYTES}`)
  const start = end + END_OF_HEAD.length
  if (seen.length > start + length) throw bad('body', `it has more than the ${length} bytes that it says`)
  return seen.length < start + length ? undefined : Buffer.from(seen.subarray(start))
}

function bad(field: string, why: string): FormatError {
  return new FormatError(`cannot read the answer of the service: ${why}`, {
    ...{ code: 'bad-value', field, offset: 0 },
  })
}

function closed(when: string): FormatError {
  return new FormatError(`cannot read the answer of the service: it closed the connection ${when}`, {
    ...{ code: 'truncated', field: 'connection', offset: 0 },
  })
}

function late(what: string, deadlineMs: number): TimeoutError {
  return new TimeoutError(`waited ${deadlineMs} ms for ${what}`, { code: 'expect' })
}
