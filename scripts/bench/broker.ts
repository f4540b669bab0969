/**
 * Full exchanges of the key broker: a new TLS connection, auth, attest, resource; each client decrypts its first. The broker
 * has a process of its own; its clients share the machine with it. What a TEE's processor would sign is prepared before.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LAUNCH_DIGEST, snpGuestOf } from '../../harness/broker/testing/emulated-guests.ts'
import { guestKey, RcarClient, type Target } from '../../harness/broker/testing/rcar-client.ts'
import { SnpSignerEmulation } from '../../harness/evidence/testing/snp-signer.ts'
import type { BenchBrokerSetting } from './broker-server.ts'
import type { Measure, MeasureOptions } from './figure.ts'
import { opensslOnAllCores, REFERENCE_VERIFICATIONS } from './openssl-speed.ts'
import { PreparedProcessor } from './prepared-processor.ts'

const RESOURCE = 'default/key/root'
const CLIENTS = 50
const SECONDS = 10
const REPEAT = 3
const LEAST_A_SECOND = 150
const CORES = 2
/** For one round, of a machine twice as fast as is asked for. */
const SIGNATURES = 2 * SECONDS * LEAST_A_SECOND
const MOST_P99_MS = 500
const AMD_RSA_BITS = 4096
const FEW = 10_000
const MANY = 100_000
/** Between a store that is full and one that was full ten times over. */
const MOST_GROWTH = 1.1

interface Round {
  /** Milliseconds of each exchange. */
  readonly latencies: readonly number[]
  readonly machine: number
  readonly serverMs: number
  readonly clientMs: number
}

export const brokerExchanges: Measure = {
  id: 'broker',
  title: `full exchanges with the key broker, ${CLIENTS} clients`,
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const processor = new PreparedProcessor({ rsaBits: AMD_RSA_BITS })
    await using server = await startServer(processor, signal)
    processor.prepare(SIGNATURES)
    await exchangeFor(server.target, processor, { seconds: 2, signal })
    const rounds: Round[] = []
    const speed = () => opensslOnAllCores(CORES, { seconds: 1, signal, elapsed: true })
    for (let i = 1; i <= repeat; i++) {
      tell(`exchanges with the broker: ${i} of ${repeat}`)
      processor.prepare(SIGNATURES)
      const speedBefore = await speed()
      const [before, own] = [await server.use(), process.cpuUsage()]
      const latencies = await exchangeFor(server.target, processor, { seconds: SECONDS, signal })
      const { user, system } = process.cpuUsage(own)
      const used = (await server.use()).cpuMs - before.cpuMs
      rounds.push({
        latencies,
        // Of the reference machine's: what this one gave right before and right after.
        machine: (speedBefore + (await speed())) / 2 / (CORES * REFERENCE_VERIFICATIONS),
        serverMs: used / latencies.length,
        clientMs: (user + system) / 1000 / latencies.length,
      })
    }
    const perSecond = ({ latencies }: Round) => latencies.length / SECONDS
    const p99 = ({ latencies }: Round) =>
      latencies.toSorted((a, b) => a - b)[Math.floor(latencies.length * 0.99)] ?? 0
    return {
      figures: [
        {
          ...{ name: 'exchanges', unit: '/s' as const, limit: { atLeast: LEAST_A_SECOND } },
          samples: rounds.map(perSecond),
        },
        {
          name: `exchanges, at ${REFERENCE_VERIFICATIONS} verifications a core`,
          ...{ unit: '/s' as const, limit: { atLeast: LEAST_A_SECOND } },
          samples: rounds.map((round) => perSecond(round) / round.machine),
        },
        {
          name: 'slowest in a hundred',
          unit: 'ms',
          samples: rounds.map(p99),
          limit: { atMost: MOST_P99_MS },
        },
        {
          ...{ name: 'slowest in a hundred, likewise', unit: 'ms' as const, limit: { atMost: MOST_P99_MS } },
          samples: rounds.map((round) => p99(round) * round.machine),
        },
        { name: 'this machine, of such a one', unit: 'ratio', samples: rounds.map(({ machine }) => machine) },
        { name: 'CPU of the broker, each', unit: 'ms', samples: rounds.map(({ serverMs }) => serverMs) },
        { name: 'CPU of its client, each', unit: 'ms', samples: rounds.map(({ clientMs }) => clientMs) },
      ],
      notes: [
        'AMD’s key sizes; each record is synced before its answer; both ends have one thread and what OpenSSL adds',
        'likewise: by bare P-384 verifications of openssl on both cores right before and after, of which the issue’s machine has 690 a second and core',
      ],
    }
  },
}

export const brokerMemory: Measure = {
  id: 'broker-memory',
  title: `memory of the key broker over ${MANY} sessions`,
  run: async ({ signal, tell }) => {
    const processor = new SnpSignerEmulation()
    await using server = await startServer(processor, signal)
    const begin = await server.use()
    await openSessions(server.target, FEW, signal)
    const few = await server.use()
    tell(`${FEW} sessions opened`)
    await openSessions(server.target, MANY - FEW, signal)
    const many = await server.use()
    return {
      figures: [
        {
          ...{
            name: `heap at ${MANY} beside heap at ${FEW}`,
            unit: 'ratio' as const,
            limit: { atMost: MOST_GROWTH },
          },
          samples: [many.heapMb / few.heapMb],
        },
        { name: 'heap before', unit: 'MB', samples: [begin.heapMb] },
        { name: `heap at ${FEW}`, unit: 'MB', samples: [few.heapMb] },
        { name: `heap at ${MANY}`, unit: 'MB', samples: [many.heapMb] },
        { name: `resident at ${FEW}`, unit: 'MB', samples: [few.rssMb] },
        { name: `resident at ${MANY}`, unit: 'MB', samples: [many.rssMb] },
      ],
    }
  },
}

interface Use {
  readonly cpuMs: number
  readonly rssMb: number
  readonly heapMb: number
}

interface Server extends AsyncDisposable {
  readonly target: Target
  use(): Promise<Use>
}

async function startServer(processor: SnpSignerEmulation, signal: AbortSignal): Promise<Server> {
  const setting: BenchBrokerSetting = {
    ...{ resource: RESOURCE, launchDigest: LAUNCH_DIGEST.toString('hex'), root: processor.root.keyId },
  }
  const program = join(import.meta.dirname, 'broker-server.ts')
  const child = spawn(process.execPath, ['--expose-gc', program, JSON.stringify(setting)], {
    ...{ stdio: ['pipe', 'pipe', 'inherit'], signal },
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value as string) as unknown
  const target = (await next()) as Target
  return {
    target,
    use: async () => {
      child.stdin.write('use\n')
      return (await next()) as Use
    },
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, 'exit')
      child.stdin.end()
      await ended
    },
  }
}

interface Span {
  readonly seconds: number
  readonly signal: MeasureOptions['signal']
}

/** Milliseconds of each exchange that ended within the time. */
async function exchangeFor(
  target: Target,
  processor: SnpSignerEmulation,
  { seconds, signal }: Span,
): Promise<number[]> {
  const latencies: number[] = []
  const end = performance.now() + seconds * 1000
  const source = snpGuestOf(processor)
  // A guest has one key for its life; making it is not part of an exchange.
  const client = async (): Promise<void> => {
    const key = guestKey()
    let opened = false
    for (let start = performance.now(); start < end && !signal.aborted; start = performance.now()) {
      const guest = new RcarClient(target, key)
      const attested = await guest.attest(source)
      const answer = await guest.resource(RESOURCE)
      if (attested.status !== 200 || answer.status !== 200)
        throw new Error(`the broker refused: ${attested.text} ${answer.text}`)
      // Whether it opens is not what takes the broker's time.
      if (!opened) opened = (await guest.open(answer)).length > 0
      guest.close()
      const now = performance.now()
      if (now <= end) latencies.push(now - start)
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  signal.throwIfAborted()
  return latencies
}

/** Sessions that nobody goes on with, over few connections. */
async function openSessions(target: Target, count: number, signal: AbortSignal): Promise<void> {
  const left = { count }
  const client = async (): Promise<void> => {
    const guest = new RcarClient(target)
    while (left.count-- > 0 && !signal.aborted) {
      guest.cookie = undefined
      const { status, text } = await guest.auth('snp')
      if (status !== 200) throw new Error(text)
    }
    guest.close()
  }
  await Promise.all(Array.from({ length: 16 }, client))
  signal.throwIfAborted()
}
