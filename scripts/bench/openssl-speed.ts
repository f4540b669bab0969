import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** P-384 verifications a second and core of the machine that the issues' figures are of. */
export const REFERENCE_VERIFICATIONS = 690

export interface SpeedOptions {
  /** Whole ones: `openssl speed` knows no others. */
  readonly seconds: number
  readonly signal: AbortSignal
  /** By a clock on the wall: what the machine gives at the moment. Default: by CPU time. */
  readonly elapsed?: boolean
}

/** P-384 verifications a second by the system's openssl, in one process. Throws Error where it says none. */
export async function opensslVerifications({ seconds, signal, elapsed }: SpeedOptions): Promise<number> {
  const clock = elapsed ? ['-elapsed'] : []
  const args = ['speed', '-seconds', `${seconds}`, ...clock, '-mr', 'ecdsap384']
  const { stdout } = await promisify(execFile)('openssl', args, { signal })
  // The last line of the machine-readable output: `+F4:…:384:signatures a second:verifications a second`.
  const fields = stdout.trim().split('\n').at(-1)?.split(':') ?? []
  const verifications = Number(fields.at(-1))
  if (!fields[0]?.startsWith('+F') || !(verifications > 1))
    throw new Error(`openssl speed says ${JSON.stringify(stdout.slice(-200))}, a line +F4 is required`)
  return verifications
}

/** Of `cores` processes at once, all together: what the machine gives whoever uses so much of it. */
export async function opensslOnAllCores(cores: number, options: SpeedOptions): Promise<number> {
  const each = await Promise.all(Array.from({ length: cores }, () => opensslVerifications(options)))
  return each.reduce((sum, rate) => sum + rate, 0)
}
