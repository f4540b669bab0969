/**
 * Work that is measured in a process of its own: for its memory, or to be bound to a core. Reads `go` on stdin where it
 * is to begin together with another; its last line of output is the result, as JSON.
 * Usage: child.ts JOB [WORD]
 */
import { once } from 'node:events'
import { consoleJob } from './console-job.ts'
import { memoryJob } from './memory-job.ts'
import { bootByHand, bootWithHarness } from './side-by-side-jobs.ts'

/** `ready` resolves when the other is ready too. */
export type Job = (signal: AbortSignal, ready: () => Promise<void>) => Promise<unknown>

const JOBS: Readonly<Record<string, Job>> = {
  'boot-by-hand': bootByHand,
  'boot-with-harness': bootWithHarness,
  console: consoleJob,
  memory: memoryJob,
}

const interruption = new AbortController()
// A Ctrl-C arrives twice: from the terminal, and from the bench.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(name, () => interruption.abort(new Error(`interrupted by ${name}`)))

async function ready(): Promise<void> {
  process.stdout.write('ready\n')
  await once(process.stdin, 'data')
  process.stdin.pause()
}

const job = JOBS[process.argv[2] ?? '']
if (job === undefined)
  throw new Error(`no job "${process.argv[2]}"; there are ${Object.keys(JOBS).join(', ')}`)
const result = await job(interruption.signal, ready)
process.stdout.write(`${JSON.stringify(result)}\n`)
