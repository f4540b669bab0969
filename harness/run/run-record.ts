/** `run.json`: how a run was started, and on what. A bundle is made from it long after the run, on a host that changed. */
import { join } from 'node:path'
import type { HostReport } from '../probe/facts.ts'
import { writePrivateFile } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'
import type { Sampling } from './power-cut/sampling.ts'

export const RUN_RECORD_FILE = 'run.json'
export const RUN_RECORD_VERSION = 1

export interface RunRecord {
  readonly version: typeof RUN_RECORD_VERSION
  /** The words of the command line; empty where a program started the run. */
  readonly argv: readonly string[]
  readonly tools: Pick<Tools, 'kind' | 'digest'>
  /** Which states of a power cut were booted. */
  readonly sampling: Sampling
  /** As `attestbed doctor --json` says. */
  readonly host: HostReport
}

export async function recordRun(directory: string, record: Omit<RunRecord, 'version'>): Promise<void> {
  const { kind, digest } = record.tools
  const whole: RunRecord = { version: RUN_RECORD_VERSION, ...record, tools: { kind, digest } }
  await writePrivateFile(join(directory, RUN_RECORD_FILE), `${JSON.stringify(whole, null, 1)}\n`)
}
