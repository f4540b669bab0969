/** A broker's configuration with everything it names read and opened. */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { type FileLog, openAuditLog } from '../broker/audit/file-log.ts'
import { type BrokerConfig, parseBrokerConfig } from '../broker/config.ts'
import type { ReleasePolicy } from '../broker/release-policy.ts'
import type { BrokerOptions } from '../broker/server.ts'
import { FileStore } from '../broker/store/file-store.ts'
import { readPrivateFile } from '../broker/store/private-file.ts'
import { readStoreKey } from '../broker/store/store-key.ts'
import type { TokenKey } from '../broker/tokens.ts'
import { parsePolicy } from '../evidence/policy/parse.ts'
import { type ResolvedPolicy, resolveFiles } from '../evidence/policy/resolve.ts'
import { parsePem } from '../formats/pem.ts'
import { predictReferences } from '../verdict/reference-values.ts'
import { besides, readEvidenceFile, readEvidenceFiles, readPolicyText } from './evidence-files.ts'

/** A configuration, and where the files lie that it names. */
export interface ReadConfig {
  readonly config: BrokerConfig
  readonly at: (name: string) => string
}

/** Throws UsageError `bad-config`. */
export async function readBrokerConfig(file: string): Promise<ReadConfig> {
  const config = parseBrokerConfig(await readPolicyText(file), { file })
  return { config, at: (name) => resolve(dirname(file), name) }
}

/** The store of a configuration. Throws UsageError for a key that others can read. */
export async function openConfiguredStore({ config, at }: ReadConfig): Promise<FileStore> {
  const key = await readStoreKey(at(config.store.key))
  return FileStore.open({ directory: at(config.store.directory), key })
}

/** What is there to be closed again. */
export interface OpenedBroker {
  readonly options: Omit<BrokerOptions, 'tls'>
  readonly log: FileLog
  /** Names of resources that have a policy and are not in the store. */
  readonly missing: readonly string[]
}

/** Opens the log last: nobody else can write it from then on. Throws UsageError, FormatError, HostError `locked`. */
export async function openConfigured(read: ReadConfig): Promise<OpenedBroker> {
  const { config, at } = read
  const store = await openConfiguredStore(read)
  const policies = new Map<string, ReleasePolicy>()
  for (const resource of config.resources) policies.set(resource.path, await releasePolicy(resource, at))
  const stored = await store.list()
  const tokenKey = config.tokens && (await readTokenKey(config.tokens, at))
  const { evidence } = config.audit
  const log = await openAuditLog(
    at(config.audit.log),
    evidence === undefined ? {} : { evidenceDirectory: at(evidence) },
  )
  const { listen, limits } = config
  const issuer = config.tokens?.issuer
  return {
    options: {
      ...{ store, policies, audit: log },
      ...(listen && {
        listen: 'socket' in listen ? { socket: at(listen.socket) } : withoutUndefined(listen),
      }),
      ...(limits && { limits: withoutUndefined(limits) }),
      ...(tokenKey && { tokenKey }),
      ...(issuer !== undefined && { issuer }),
    },
    log,
    missing: [...policies.keys()].filter((path) => !stored.includes(path)),
  }
}

/** Keys that are absent, instead of there and undefined. */
function withoutUndefined<Values extends object>(
  values: Values,
): { [Key in keyof Values]: Exclude<Values[Key], undefined> } {
  const given = Object.entries(values).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given) as { [Key in keyof Values]: Exclude<Values[Key], undefined> }
}

async function releasePolicy(
  {
    policy,
    certificates = [],
    crls = [],
    collateral = [],
    delivery = 'direct',
    root,
  }: BrokerConfig['resources'][number],
  at: ReadConfig['at'],
): Promise<ReleasePolicy> {
  const read = (names: readonly string[]) => readEvidenceFiles(names.map(at))
  return {
    policy: await readReleasePolicy(at(policy)),
    ...{ certificates: await read(certificates), crls: await read(crls) },
    ...{ collateral: await read(collateral), delivery, ...(root && { root }) },
  }
}

async function readReleasePolicy(file: string): Promise<ResolvedPolicy> {
  const read = besides(file)
  const policy = parsePolicy(await readPolicyText(file), { file })
  return resolveFiles(await predictReferences(policy, read), read)
}

async function readTokenKey(
  { key, certificates }: NonNullable<BrokerConfig['tokens']>,
  at: ReadConfig['at'],
): Promise<TokenKey> {
  const file = at(key)
  const privateKey = privateKeyOf(file, await readPrivateFile(file, { what: 'the key that signs tokens' }))
  const curve = privateKey.asymmetricKeyDetails?.namedCurve
  if (curve !== 'prime256v1' && curve !== 'secp384r1')
    throw new UsageError(`${file} has no key that signs tokens: one on P-256 or P-384 is needed`, {
      code: 'bad-config',
    })
  const publicKey = createPublicKey(privateKey)
  if (certificates === undefined) return { privateKey, publicKey }
  const list = at(certificates)
  const chain = parsePem(await readEvidenceFile(list)).map(({ bytes }) => bytes)
  const [leaf] = chain.map((der) => certificateOf(list, der))
  if (!leaf?.publicKey.equals(publicKey))
    throw new UsageError(`the first certificate of ${list} is not of the key that signs tokens`, {
      code: 'bad-config',
    })
  return { privateKey, publicKey, certificates: chain }
}

/**
 * Certificate and key of the server, PEM. Throws UsageError `bad-config` with the file's name for what is neither, and
 * where the key is another's.
 */
export async function readTlsFiles(
  { certificate, key }: NonNullable<BrokerConfig['tls']>,
  at: ReadConfig['at'],
): Promise<BrokerOptions['tls']> {
  const [certificateFile, keyFile] = [at(certificate), at(key)]
  const certificatePem = `${await readEvidenceFile(certificateFile)}`
  const keyPem = await readPrivateFile(keyFile, { what: 'the key of the server' })
  const publicKey = createPublicKey(privateKeyOf(keyFile, keyPem))
  if (!certificateOf(certificateFile, certificatePem).publicKey.equals(publicKey))
    throw new UsageError(`the certificate in ${certificateFile} is not of the key in ${keyFile}`, {
      code: 'bad-config',
    })
  return { certificatePem, keyPem: `${keyPem}` }
}

function certificateOf(file: string, content: string | Uint8Array): X509Certificate {
  try {
    return new X509Certificate(content)
  } catch (cause) {
    throw new UsageError(`${file} holds no certificate`, { code: 'bad-config', cause })
  }
}

function privateKeyOf(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new UsageError(`${file} holds no private key in PEM`, { code: 'bad-config', cause })
  }
}
