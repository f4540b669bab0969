/**
 * The broker in a process of its own, with a store and a log on the disk, for `broker.ts`. Writes where it listens as a
 * line of JSON; then answers each line of stdin by what it uses (of memory: V8's heap and the buffers outside of it): `use`. Ends with stdin.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { openAuditLog } from '../../harness/broker/audit/file-log.ts'
import { startBroker } from '../../harness/broker/server.ts'
import { makeServerCertificate } from '../../harness/broker/server-certificate.ts'
import { FileStore } from '../../harness/broker/store/file-store.ts'

/** What it is told. */
export interface BenchBrokerSetting {
  readonly resource: string
  readonly launchDigest: string
  /** SHA-256 of the root's key. */
  readonly root: string
}

const setting = JSON.parse(process.argv[2] ?? '{}') as BenchBrokerSetting
const directory = await mkdtemp(join(tmpdir(), 'attestbed-bench-'))
const store = await FileStore.open({ directory: join(directory, 'store'), key: Buffer.alloc(32, 1) })
await store.put(setting.resource, Buffer.alloc(64, 2))
const audit = await openAuditLog(join(directory, 'audit.jsonl'))
const tls = await makeServerCertificate({ names: ['localhost'], now: new Date() })
const { launchDigest, root } = setting
const policy = { simulatedRoots: [root], snp: { launchDigests: [launchDigest] } }
const broker = await startBroker({
  ...{ store, audit, tls, policies: new Map([[setting.resource, { policy }]]) },
  limits: { requestsPerSecond: 1_000_000, burst: 1_000_000 },
  onError: (error) => process.stderr.write(`${String(error)}\n`),
})
process.stdout.write(`${JSON.stringify({ port: broker.port, certificatePem: tls.certificatePem })}\n`)
for await (const _ of createInterface({ input: process.stdin })) {
  globalThis.gc?.()
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed, external } = process.memoryUsage()
  process.stdout.write(
    `${JSON.stringify({ cpuMs: (user + system) / 1000, rssMb: rss / 1e6, heapMb: (heapUsed + external) / 1e6 })}\n`,
  )
}
await broker.close()
await audit.close()
await rm(directory, { recursive: true, force: true })
