/** The broker of a scenario's owner, the way to it, and who else may sit at its end. */
import { join } from 'node:path'
import { digest } from '../../base/digest.ts'
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
import { type ExchangeSummary, summarize } from './exchanges.ts'
import { type Interceptor, interceptTls } from './interceptor.ts'

/** What guests ask for where their command line names nothing else. */
export const ROOT_KEY = 'default/root/key'

/** A resource, and to whom it is given. */
export interface Release extends ReleasePolicy {
  readonly secret: string
  /** Default `default/root/key`. */
  readonly resource?: string
  /** How long a session lives; default as of a stand-alone broker. */
  readonly sessionMs?: number
}

export interface BrokerRequest {
  /** Letters, digits, `-`: names its audit log in the run directory. */
  readonly name?: string
}

/** Whom guests reach at the broker's address. */
export type AtTheEnd = 'broker' | 'nobody' | 'impostor' | 'man-in-the-middle'

export class LabBroker {
  readonly #spec: LabSpec
  readonly #identity: BrokerIdentity
  readonly #line: BrokerLine
  readonly #log: WatchedLog
  readonly #open: AsyncDisposable[] = []
  #release: Release | undefined
  #broker: Broker | undefined
  #impostor: { readonly broker: Broker; readonly log: WatchedLog } | undefined
  #interceptor: Interceptor | undefined
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

  /** How often a guest knocked, whoever opened. */
  get connections(): number {
    return this.#line.connections
  }

  /** Releases this from now on, and nothing else; guests find it at its address. */
  async serve(release: Release): Promise<void> {
    await this.#broker?.close()
    this.#release = release
    const { privateKeyPem: keyPem, certificatePem } = this.#identity
    this.#broker = await this.#start(release, { tls: { certificatePem, keyPem }, audit: this.#log })
    this.#line.leadTo(this.#broker.port)
  }

  /** Changes what it releases, or to whom, in the given points. */
  async change(points: Partial<Release>): Promise<void> {
    if (this.#release) await this.serve({ ...this.#release, ...points })
  }

  /** From now on guests reach this at the broker's address; the broker goes on. */
  async put(end: AtTheEnd): Promise<void> {
    const port = await this.#portOf(end)
    this.#line.leadTo(port)
  }

  async #portOf(end: AtTheEnd): Promise<number | undefined> {
    if (end === 'nobody') return undefined
    if (end === 'broker') return this.#broker?.port
    if (end === 'impostor') return (await this.#theImpostor()).broker.port
    this.#interceptor ??= await interceptTls(() => this.#broker?.port)
    if (!this.#open.includes(this.#interceptor)) this.#open.push(this.#interceptor)
    return this.#interceptor.port
  }

  /** A broker that releases the same to the same, and has another TLS key. */
  async #theImpostor(): Promise<{ readonly broker: Broker; readonly log: WatchedLog }> {
    if (this.#impostor) return this.#impostor
    if (this.#release === undefined) throw new Error('an impostor needs a broker that serves')
    const { certificatePem, keyPem } = await makeServerCertificate({ names: ['127.0.0.1'], now: new Date() })
    const log = await WatchedLog.open(this.#spec, 'impostor')
    const broker = await this.#start(this.#release, { tls: { certificatePem, keyPem }, audit: log })
    this.#open.push(broker)
    this.#impostor = { broker, log }
    return this.#impostor
  }

  /** Requests that guests sent to whoever was there in the broker's place, in clear. */
  get overheard(): number {
    const byImpostor = this.#impostor?.log.records.filter(({ event }) => event === 'attest').length ?? 0
    return byImpostor + (this.#interceptor?.requests ?? 0)
  }

  /** What the audit log says of everything since the last call. */
  exchanges(): ExchangeSummary {
    const records = this.#log.records.slice(this.#read)
    this.#read = this.#log.records.length
    return summarize(records)
  }

  #start(
    { secret, resource = ROOT_KEY, sessionMs, ...policy }: Release,
    how: {
      readonly tls: { readonly certificatePem: string; readonly keyPem: string }
      readonly audit: AuditLog
    },
  ): Promise<Broker> {
    return startBroker({
      ...how,
      store: memoryStore(new Map([[resource, Buffer.from(secret)]])),
      policies: new Map([[resource, policy]]),
      ...(sessionMs !== undefined && { limits: { sessionMs } }),
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

  private constructor(log: FileLog) {
    this.#log = log
  }

  static async open(spec: LabSpec, name: string): Promise<WatchedLog> {
    return new WatchedLog(await openAuditLog(join(spec.directory, `${name}-audit.jsonl`)))
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  async append(record: AuditRecord): Promise<void> {
    await this.#log.append(record)
    this.records.push(record)
  }
}
