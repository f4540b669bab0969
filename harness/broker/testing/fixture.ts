/** A broker on loopback with what tests release. */
import { memoryLog } from '../audit/memory-log.ts'
import type { AuditLog, AuditRecord } from '../audit/record.ts'
import type { BrokerLimits } from '../limits.ts'
import type { ReleasePolicy } from '../release-policy.ts'
import { type Broker, startBroker } from '../server.ts'
import { makeServerCertificate, type ServerCertificate } from '../server-certificate.ts'
import { memoryStore } from '../store/resource-store.ts'
import { SIMULATED_TIME, snpRelease } from './emulated-guests.ts'
import { type GuestKey, RcarClient } from './rcar-client.ts'

export const ROOT_KEY = 'default/key/root'
export const SECRET = Buffer.from('the key of the root, which must not be anywhere else')

export interface FixtureOptions {
  readonly policies?: Readonly<Record<string, ReleasePolicy>>
  readonly resources?: Readonly<Record<string, Uint8Array>>
  readonly limits?: Partial<BrokerLimits>
  readonly audit?: AuditLog
  readonly clock?: () => Date
  readonly onError?: (error: unknown) => void
  /** What every read of the store ends in. */
  readonly failingStore?: Error
}

export interface Fixture extends AsyncDisposable {
  readonly broker: Broker
  readonly certificate: ServerCertificate
  /** Empty where another log was given. */
  readonly records: readonly AuditRecord[]
  /** A guest on a connection of its own; closed with the fixture. */
  client(key?: GuestKey): RcarClient
}

let certificate: Promise<ServerCertificate> | undefined

/** Default: one resource that the emulated SNP guest may have. */
export async function brokerFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const {
    policies = { [ROOT_KEY]: snpRelease() },
    resources = { [ROOT_KEY]: SECRET },
    clock = () => SIMULATED_TIME,
    failingStore,
  } = options
  certificate ??= makeServerCertificate({ names: ['localhost', '127.0.0.1'], now: new Date() })
  const made = await certificate
  const log = memoryLog()
  const broker = await startBroker({
    tls: made,
    store: failingStore
      ? { get: () => Promise.reject(failingStore) }
      : memoryStore(new Map(Object.entries(resources))),
    policies: new Map(Object.entries(policies)),
    audit: options.audit ?? log,
    clock,
    ...(options.limits && { limits: options.limits }),
    ...(options.onError && { onError: options.onError }),
  })
  const clients: RcarClient[] = []
  return {
    ...{ broker, certificate: made, records: log.records },
    client: (key) => {
      const client = new RcarClient({ port: broker.port, certificatePem: made.certificatePem }, key)
      clients.push(client)
      return client
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.close()
      await broker.close()
    },
  }
}
