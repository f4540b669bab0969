import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { Console } from './engine.ts'
import { FAILURE_PATTERNS } from './failure-patterns.ts'
import { compilePattern, type Pattern } from './patterns.ts'
import { Scanner } from './scanner.ts'
import { openTranscript } from './transcript.ts'
import { Wait } from './wait.ts'

/**
 * How fast the console engine reads with 20 patterns armed, and what memory it keeps. A program, not a test:
 * `node harness/machine/console/console.bench.ts` prints the figures.
 */

export interface BenchFigure {
  readonly name: string
  readonly value: number
  readonly unit: 'MB/s' | 'MB'
}

const CHUNK = 64 * 1024
const PATTERNS: readonly Pattern[] = [
  ...FAILURE_PATTERNS.slice(0, 17),
  /login: $/,
  'Password:',
  /state=(\d+)/,
]

/** A chunk of what a boot prints: time stamps, colours, CR LF. */
function bootLog(): Buffer {
  const lines: string[] = []
  for (let i = 0; lines.length < 2000; i++) {
    lines.push(
      `[${(i / 37).toFixed(6).padStart(12)}] pci 0000:00:${(i % 32).toString(16)}.0: BAR ${i % 6} assigned`,
    )
    lines.push(`[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39msystemd-unit-${i}.service\x1b[0m - Unit ${i}.`)
  }
  return Buffer.from(lines.join('\r\n')).subarray(0, CHUNK)
}

function scannerThroughput(chunk: Buffer, bytes: number): number {
  const scanner = new Scanner({ windowBytes: 512 * 1024 })
  const patterns = PATTERNS.map(compilePattern)
  scanner.add(new Wait({ window: scanner.window, patterns, from: 0, onFound: () => {} }))
  for (let i = 0; i < 200; i++) scanner.push(chunk)
  const start = performance.now()
  for (let done = 0; done < bytes; done += chunk.length) scanner.push(chunk)
  return bytes / 1e3 / (performance.now() - start)
}

/** Another thread writes, so that only reading is measured. */
const WRITER = `
const { workerData } = require('node:worker_threads')
const socket = require('node:net').connect(workerData.path)
let left = workerData.bytes
const chunk = Buffer.from(workerData.chunk)
const more = () => {
  while (left > 0) {
    left -= chunk.length
    if (!socket.write(chunk)) return socket.once('drain', more)
  }
  socket.end()
}
more()
`

async function throughSocket(
  chunk: Buffer,
  bytes: number,
  options: { readonly transcript: boolean },
): Promise<{ readonly throughput: number; readonly rssGrowth: number }> {
  const directory = await mkdtemp(join(tmpdir(), 'console-bench-'))
  const path = join(directory, 's')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  try {
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
    const worker = new Worker(WRITER, { eval: true, workerData: { path, bytes, chunk } })
    const transcript = options.transcript ? await openTranscript(directory) : undefined
    const before = process.memoryUsage().rss
    const start = performance.now()
    const console = new Console(await accepted, { name: 'bench', ...(transcript && { transcript }) })
    let peak = 0
    const sampler = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 100)
    const wait = console.expect(PATTERNS, { deadlineMs: 600_000, expectFailures: [] }).catch(() => {})
    await console.closed
    const seconds = (performance.now() - start) / 1000
    clearInterval(sampler)
    await wait
    await console.close()
    await worker.terminate()
    return { throughput: bytes / 1e6 / seconds, rssGrowth: (peak - before) / 1e6 }
  } finally {
    server.close()
    rmSync(directory, { recursive: true })
  }
}

/** Runs everything: about half a minute. `bytes`: how much goes through each measurement. */
export async function benchConsole(bytes: number = 1e9): Promise<readonly BenchFigure[]> {
  const log = bootLog()
  const noNewline = Buffer.alloc(CHUNK, 'abcdefghijklmnopqrstuvwxyz0123456789')
  const direct = scannerThroughput(log, bytes)
  const directNoNewline = scannerThroughput(noNewline, bytes)
  const socket = await throughSocket(log, bytes, { transcript: false })
  const recorded = await throughSocket(log, bytes / 4, { transcript: true })
  const endless = await throughSocket(noNewline, bytes, { transcript: false })
  return [
    { name: 'boot log, 20 patterns, from memory', value: direct, unit: 'MB/s' },
    { name: 'no newline, 20 patterns, from memory', value: directNoNewline, unit: 'MB/s' },
    { name: 'boot log, 20 patterns, unix socket', value: socket.throughput, unit: 'MB/s' },
    { name: 'the same with a transcript on disk', value: recorded.throughput, unit: 'MB/s' },
    { name: 'no newline, 20 patterns, unix socket', value: endless.throughput, unit: 'MB/s' },
    { name: 'memory growth over that stream without newline', value: endless.rssGrowth, unit: 'MB' },
  ]
}

if (import.meta.main) {
  for (const { name, value, unit } of await benchConsole()) {
    process.stdout.write(`${name.padEnd(52)} ${value.toFixed(1).padStart(8)} ${unit}\n`)
  }
}
