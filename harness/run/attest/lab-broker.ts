/** The broker of a scenario's owner, the way to it, and who else may sit at its end. */
import { join } from 'node:path'
import { digest } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'
import { type FileLog, openAuditLog } from '../../broker/audit/file-log.ts'
import {
  type AuditLog,
  type AuditRecord,
  type Broker,
  makeServerCertificate,
  memoryStore,
  type ReleasePolicy,
  startBroker,
} from '../../broker/index.ts'
import { type BrokerIdentity, ensureBrokerIdentity } from '../../materials/broker-identity.ts'
import type { LabSpec } from '../lab-spec.ts'
import { BROKER_ADDRESS } from '../vm-machine.ts'
import type { NetworkOptions, VmOptions } from '../vm-options.ts'
import { BrokerLine } from './broker-line.ts'
import { type Attestation, attestationsOf, type ExchangeSummary, summarize } from './exchanges.ts'
import { type Interceptor, interceptTls } from './interceptor.ts'
import { Relay } from './relay.ts'
import { ShownEvidence } from './shown-evidence.ts'

/** What guests ask for where their command line names nothing else. */
export const ROOT_KEY = 'default/root/key'

/** A resource, and to whom it is given. */
export interface Release extends ReleasePolicy {
  readonly secret: string
  /** Default `default/root/key`. */
  readonly resource?: string
}

export interface BrokerRequest {
  /** Letters, digits, `-`: names its audit log in the run directory. */
  readonly name?: string
}

/** Whom guests reach at the broker's address. */
export type AtTheEnd = 'broker' | 'nobody' | FalseEnd

type FalseEnd = 'impostor' | 'man-in-the-middle'

/** What somebody in the broker's place saw, while it was there. */
export interface Overheard {
  /** Whether a guest came at all. */
  readonly knocked: boolean
  /** What it could read of guests, in pieces. */
  readonly requests: number
}

export class LabBroker {
  readonly #spec: LabSpec
  readonly #identity: BrokerIdentity
  readonly #line: BrokerLine
  readonly #log: WatchedLog
  readonly #open: AsyncDisposable[] = []
  #releases: readonly [Release, ...(readonly Release[])] | undefined
  #broker: Broker | undefined
  #impostor: { readonly broker: Broker; readonly log: WatchedLog } | undefined
  readonly #ends = new Map<FalseEnd, Interceptor>()
  #aheadMs = 0
  #read = 0

  private constructor(
    spec: LabSpec,
    made: { readonly identity: BrokerIdentity; readonly line: BrokerLine; readonly log: WatchedLog },
  ) {
    this.#spec = spec
    this.#identity = made.identity
    this.#line = made.line
    this.#log = made.log
  }

  /** Releases nothing, and is not there for guests, until `serve`. */
  static async open(spec: LabSpec, { name = 'broker' }: BrokerRequest = {}): Promise<LabBroker> {
    const [identity, line] = await Promise.all([
      ensureBrokerIdentity(spec.bench),
      BrokerLine.open(spec.scope),
    ])
    const log = await WatchedLog.open(spec, name)
    const lab = new LabBroker(spec, { identity, line, log })
    spec.scope.defer(`broker ${name}`, () => lab.#close())
    return lab
  }

  /** Words for a measured command line: where the broker is, and by what to know it. */
  get commandLine(): string {
    const { address, port } = BROKER_ADDRESS
    return `attestbed.broker=https://${address}:${port} attestbed.broker-pin=${this.#identity.pin}`
  }

  /** The same as init data (Trustee, kbs/docs/initdata.md), and the launch that binds a guest of this variant to it. */
  initData(): Required<Pick<VmOptions, 'initData' | 'launch'>> {
    const isTdx = this.#spec.variant.platform === 'tdx'
    const algorithm = isTdx ? 'sha384' : 'sha256'
    const { address, port } = BROKER_ADDRESS
    const data = { broker: `https://${address}:${port}`, 'broker-pin': this.#identity.pin }
    const lines = Object.entries(data).map(([key, value]) => `"attestbed.${key}" = "${value}"`)
    const head = ['version = "0.1.0"', `algorithm = "${algorithm}"`, '', '[data]']
    const initData = [...head, ...lines, ''].join('\n')
    const bound = digest(algorithm, initData)
    return { initData, launch: isTdx ? { mrConfigId: bound } : { hostData: bound } }
  }

  /** For the VM that is to reach it. */
  get network(): NetworkOptions {
    return { hostPort: this.#line.hostPort }
  }

  /** When guests connected to its address so far, whoever was there, in milliseconds of a clock that never goes back. */
  get arrivals(): readonly number[] {
    return this.#line.arrivals
  }

  /** Whether guests connect `times` more within the time that a boot may take; resolves as soon as they have. */
  async nextArrivals(times: number): Promise<boolean> {
    const { bootSeconds } = this.#spec.bench.image.description.timeouts
    return this.#line.arrived(this.#line.arrivals.length + times, { deadlineMs: bootSeconds * 1000 })
  }

  /** Moves the clock of the broker on; until `serve`. */
  advance(ms: number): void {
    this.#aheadMs += ms
  }

  /** Releases this from now on, and nothing else; guests find it at its address. Each is another resource. */
  async serve(...releases: readonly [Release, ...(readonly Release[])]): Promise<void> {
    await this.#broker?.close()
    this.#releases = releases
    this.#aheadMs = 0
    const { privateKeyPem: keyPem, certificatePem } = this.#identity
    this.#broker = await this.#start(releases, { tls: { certificatePem, keyPem }, audit: this.#log })
    this.#line.leadTo(this.#broker.port)
  }

  /** Changes what it releases, or to whom, in the given points: the first resource that it was told of. */
  async change(points: Partial<Release>): Promise<void> {
    const [release, ...others] = this.#releases ?? []
    if (release) await this.serve({ ...release, ...points }, ...others)
  }

  /** From now on guests reach this at the broker's address; the broker goes on. */
  async put(end: AtTheEnd): Promise<void> {
    const port = await this.#portOf(end)
    this.#line.leadTo(port)
  }

  async #portOf(end: AtTheEnd): Promise<number | undefined> {
    if (end === 'nobody') return undefined
    if (end === 'broker') return this.#broker?.port
    const standing = this.#ends.get(end)
    if (standing) return standing.port
    // Neither has the broker's TLS key, and both read what they are told.
    const impostor = end === 'impostor' ? (await this.#theImpostor()).broker : undefined
    const made = await interceptTls(() => (impostor ?? this.#broker)?.port)
    this.#open.unshift(made)
    this.#ends.set(end, made)
    return made.port
  }

  /** A broker that releases the same to the same. */
  async #theImpostor(): Promise<{ readonly broker: Broker; readonly log: WatchedLog }> {
    if (this.#impostor) return this.#impostor
    if (this.#releases === undefined)
      throw new UsageError('an impostor needs a broker that serves', { code: 'bad-scenario' })
    const { certificatePem, keyPem } = await makeServerCertificate({ names: ['127.0.0.1'], now: new Date() })
    const log = await WatchedLog.open(this.#spec, 'impostor')
    const broker = await this.#start(this.#releases, { tls: { certificatePem, keyPem }, audit: log })
    this.#open.push(broker)
    this.#impostor = { broker, log }
    return this.#impostor
  }

  /** Somebody beside the broker, whom guests reach at another address: one that only their command line can give them. */
  async relay(): Promise<Relay> {
    const { scope, bench } = this.#spec
    return Relay.open(scope, {
      identity: await ensureBrokerIdentity(bench, 'relay'),
      broker: () => this.#broker?.port,
    })
  }

  /** What one that was put in the broker's place saw of guests. */
  overheard(end: FalseEnd): Overheard {
    const { connections = 0, requests = 0 } = this.#ends.get(end) ?? {}
    return { knocked: connections > 0, requests }
  }

  /** Evidence that was decided on since the broker was opened, in its order. */
  get attestations(): readonly Attestation[] {
    return attestationsOf(this.#log.records)
  }

  /** What the audit log says of everything since the last call. */
  exchanges(): ExchangeSummary {
    const records = this.#log.records.slice(this.#read)
    this.#read = this.#log.records.length
    return summarize(records)
  }

  #start(
    releases: readonly Release[],
    how: {
      readonly tls: { readonly certificatePem: string; readonly keyPem: string }
      readonly audit: AuditLog
    },
  ): Promise<Broker> {
    const resources = releases.map(({ secret, resource = ROOT_KEY, ...policy }) => ({
      ...{ resource, secret: Buffer.from(secret), policy },
    }))
    return startBroker({
      ...how,
      clock: () => new Date(Date.now() + this.#aheadMs),
      store: memoryStore(new Map(resources.map(({ resource, secret }) => [resource, secret]))),
      policies: new Map(resources.map(({ resource, policy }) => [resource, policy])),
      onError: (error) =>
        this.#spec.emit({
          type: 'note',
          text: `broker: ${error instanceof Error ? error.message : String(error)}`,
        }),
    })
  }

  async #close(): Promise<void> {
    for (const each of this.#open.splice(0)) await each[Symbol.asyncDispose]()
    await this.#broker?.close()
    // After the brokers, which log their end.
    await this.#impostor?.log.close()
    await this.#log.close()
  }
}

/** The broker's own log, chained and durable, which a person finds in the run directory, and what the scenario reads of it. */
class WatchedLog implements AuditLog {
  readonly records: AuditRecord[] = []
  readonly #log: FileLog
  readonly #shown: ShownEvidence

  private constructor(log: FileLog, shown: ShownEvidence) {
    this.#log = log
    this.#shown = shown
  }

  static async open(spec: LabSpec, name: string): Promise<WatchedLog> {
    const shown = new ShownEvidence((page) => spec.emit({ type: 'evidence', vm: name, page }))
    return new WatchedLog(await openAuditLog(join(spec.directory, `${name}-audit.jsonl`)), shown)
  }

  /** In memory, and until it is decided on: the run's page shows it. */
  async keepEvidence(digest: string, text: string): Promise<void> {
    this.#shown.keep(digest, text)
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  async append(record: AuditRecord): Promise<void> {
    await this.#log.append(record)
    this.records.push(record)
    if (record.event === 'attest') await this.#shown.decided(record)
  }
}
