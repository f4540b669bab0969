/** What this run runs on, for its record. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, hostname, release, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { resolvePaths } from '../system/paths.ts'
import type { RunHost } from './events.ts'

export function describeHost(): RunHost {
  const { version } = JSON.parse(readFileSync(join(resolvePaths().checkout, 'package.json'), 'utf8'))
  return {
    name: hostname(),
    system: `${type()} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryMiB: Math.floor(totalmem() / 2 ** 20),
    attestbed: String(version),
  }
}
