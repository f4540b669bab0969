/** `attestbed broker`: the key broker as a server, its store and its log. */
import { createReadStream } from 'node:fs'
import { UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { readChain } from '../broker/audit/chain.ts'
import { verifyAttestationToken } from '../broker/relying-party.ts'
import { type Broker, startBroker } from '../broker/server.ts'
import { makeServerCertificate } from '../broker/server-certificate.ts'
import { MAX_RESOURCE_BYTES } from '../broker/store/resource-store.ts'
import { makeStoreKey } from '../broker/store/store-key.ts'
import {
  openConfigured,
  openConfiguredStore,
  type ReadConfig,
  readBrokerConfig,
  readTlsFiles,
} from './broker-options.ts'
import { readEvidenceFile } from './evidence-files.ts'

const say = (text: string): void => void process.stderr.write(`attestbed broker: ${escapeControls(text)}\n`)

export interface ServeFlags {
  readonly config: string
  /** Names for a certificate that is made now. */
  readonly selfSigned?: readonly string[]
}

/** Serves until SIGTERM or SIGINT, answers what it accepted, and returns 0. The URL is stdout's one line. */
export async function serveBroker({ config: file, selfSigned }: ServeFlags): Promise<number> {
  const read = await readBrokerConfig(file)
  // Before the server says that it is ready: whoever reads that may stop it at once.
  const stopped = stopSignal()
  const { options, log, missing } = await openConfigured(read)
  try {
    if (log.setAside !== undefined) say(`a record that was never finished was set aside: ${log.setAside}`)
    for (const path of missing) say(`${path} has a policy and is not in the store`)
    const tls = await certificateOf(read, selfSigned)
    const broker = await listening({ ...options, tls, onError: (error) => say(`failed: ${String(error)}`) })
    process.stdout.write(`${broker.url}\n`)
    say(`ready at ${broker.url}`)
    say(`${await stopped}: answering what was accepted, then ending`)
    await broker.close()
  } finally {
    await log.close()
  }
  return 0
}

async function listening(options: Parameters<typeof startBroker>[0]): Promise<Broker> {
  try {
    return await startBroker(options)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    if (!['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES'].includes(code)) throw cause
    throw new UsageError(`cannot listen where the configuration says: ${code}`, { code: 'bad-config', cause })
  }
}

async function certificateOf(
  { config, at }: ReadConfig,
  names: readonly string[] | undefined,
): Promise<{ readonly certificatePem: string; readonly keyPem: string }> {
  if (names !== undefined) {
    const made = await makeServerCertificate({ names, now: new Date() })
    say(`self-signed certificate for ${names.join(', ')}, SHA-256 ${made.fingerprint}`)
    process.stderr.write(made.certificatePem)
    return made
  }
  if (config.tls === undefined)
    throw new UsageError('the configuration names no certificate', {
      ...{ code: 'bad-config', hint: 'add tls: {certificate, key}, or give --self-signed NAME' },
    })
  return readTlsFiles(config.tls, at)
}

function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
}

/** Reads FILE, or what comes on stdin for `-`, and keeps it. Returns 0. */
export async function putResource(
  path: string,
  file: string,
  { config }: { readonly config: string },
): Promise<number> {
  const store = await openConfiguredStore(await readBrokerConfig(config))
  const content = await readResource(file)
  await store.put(path, content).finally(() => content.fill(0))
  return 0
}

async function readResource(file: string): Promise<Buffer> {
  const stream = file === '-' ? process.stdin : createReadStream(file)
  const pieces: Buffer[] = []
  let length = 0
  try {
    for await (const piece of stream) {
      pieces.push(piece as Buffer)
      length += (piece as Buffer).length
      // The store says what is wrong with it.
      if (length > MAX_RESOURCE_BYTES) break
    }
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(`cannot read ${escapeControls(file)}: ${problem}`, { code: 'bad-value', cause })
  }
  return Buffer.concat(pieces)
}

type Write = (text: string) => void
const toStdout: Write = (text) => void process.stdout.write(text)

/** One name a line. Returns 0. */
export async function listResources(
  { config }: { readonly config: string },
  write: Write = toStdout,
): Promise<number> {
  const store = await openConfiguredStore(await readBrokerConfig(config))
  for (const path of await store.list()) write(`${path}\n`)
  return 0
}

/** Returns 0; throws UsageError `bad-value` where there is none of this name. */
export async function removeResource(path: string, { config }: { readonly config: string }): Promise<number> {
  const store = await openConfiguredStore(await readBrokerConfig(config))
  if (await store.remove(path)) return 0
  throw new UsageError(`there is no resource ${path}`, { code: 'bad-value' })
}

/** A new key for a store. Returns 0. */
export async function makeKey(file: string): Promise<number> {
  await makeStoreKey(file)
  return 0
}

export interface AuditFlags {
  /** Digest of the last line, as somebody noted it: a tail that was cut off shows only so. */
  readonly head?: string
  readonly json?: boolean
}

/** Checks the chain and shows every record, safe for a terminal. Returns 0; throws FormatError at the first break. */
export async function showAudit(
  file: string,
  { head, json = false }: AuditFlags,
  write: Write = toStdout,
): Promise<number> {
  let headSeen = head === undefined
  const { end, torn } = await readChain(file, (record) => {
    // A noted head need not be the last: the log may have grown since.
    headSeen ||= record['prev'] === head
    if (!json) write(`${recordLine(record)}\n`)
  }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT' && cause.code !== 'EISDIR') throw cause
    throw new UsageError(`cannot read ${escapeControls(file)}: ${cause.message}`, {
      code: 'bad-value',
      cause,
    })
  })
  if (!(headSeen || end.digest === head))
    throw new UsageError('the log does not have the line whose digest was given: its end was cut off', {
      code: 'bad-value',
    })
  const tail = torn > 0 ? `; ${torn} bytes torn` : ''
  if (json) write(`${JSON.stringify({ records: end.seq, head: end.digest, torn }, null, 2)}\n`)
  else write(`${end.seq} records, whole; head ${end.digest}${tail}\n`)
  return 0
}

/** `2026-… attest refused not-authentic snp …`: what a person looks for first, the rest behind it. */
function recordLine({
  seq,
  prev: _,
  time,
  event,
  outcome,
  code,
  resource,
  verdicts,
  ...rest
}: Record<string, unknown>): string {
  const head = [seq, time, event, outcome, code, resource].filter((value) => value !== undefined)
  const found = Array.isArray(verdicts) ? verdicts.flatMap((verdict: unknown) => findingCodes(verdict)) : []
  const findings = found.length > 0 ? ` findings=${found.join(',')}` : ''
  return escapeControls(`${head.map(String).join(' ')}${findings} ${JSON.stringify(rest)}`)
}

function findingCodes(verdict: unknown): readonly string[] {
  const { findings } = verdict as { readonly findings?: unknown }
  return Array.isArray(findings)
    ? findings.map((each: unknown) => String((each as { code?: unknown }).code))
    : []
}

export interface TokenFlags {
  readonly anchors?: string
  readonly keys?: string
}

/** A token as a relying party sees it: its claims, where whom the user trusts issued it. Returns 0; throws else. */
export async function checkToken(
  file: string,
  { anchors, keys }: TokenFlags,
  write: Write = toStdout,
): Promise<number> {
  if (anchors === undefined && keys === undefined)
    throw new UsageError('a token is checked against --anchors or --keys, and none was given', {
      code: 'bad-value',
    })
  const claims = await verifyAttestationToken(`${await readEvidenceFile(file)}`.trim(), {
    ...(anchors !== undefined && { anchorsPem: await readEvidenceFile(anchors) }),
    ...(keys !== undefined && { keySet: await readEvidenceFile(keys) }),
    at: new Date(),
  })
  write(`${JSON.stringify(claims, null, 2)}\n`)
  return 0
}
