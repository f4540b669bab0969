/** Programs of the host that set-up needs before there is a tools tree: apt-get, dpkg-deb, tar. */

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { execa } from 'execa'
import { HostError } from '../../base/errors.ts'

export interface HostProgramOptions {
  /** Added to PATH, HOME and TMPDIR. */
  readonly environment?: Readonly<Record<string, string>>
  /** Lines that the program writes to descriptor 3 (apt's APT::Status-Fd, which is set then). */
  readonly onStatusLine?: (line: string) => void
  readonly signal?: AbortSignal
}

export interface HostProgramResult {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
}

const SYSTEM_DIRECTORIES: readonly string[] = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

const PACKAGES: Readonly<Record<string, string>> = {
  'apt-get': 'apt',
  'apt-config': 'apt',
  'dpkg-deb': 'dpkg',
  tar: 'tar',
}

/** Path of a program of the host, looked up as a shell does, and in the system directories too. */
export function findHostProgram(name: string, environment = process.env): string | undefined {
  const directories = [...(environment['PATH'] ?? '').split(delimiter), ...SYSTEM_DIRECTORIES]
  return directories
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, name))
    .find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Throws HostError 'program-missing', with what to install. */
export function requireHostProgram(name: string): string {
  const path = findHostProgram(name)
  if (path) return path
  const install = `Install it, as root: apt-get install ${PACKAGES[name] ?? name} (Fedora: dnf install, the same)`
  throw new HostError(`this host lacks the program ${name}`, {
    code: 'program-missing',
    hint: name.startsWith('apt')
      ? `${install}; or use this host's own tools: scripts/setup --tools=host`
      : install,
  })
}

/**
 * The words that run a host program so that it dies with us, SIGKILL included: an apt-get left behind would hold
 * its lock against the next set-up.
 */
export function mortal(name: string): readonly [string, ...string[]] {
  const program = requireHostProgram(name)
  const setpriv = findHostProgram('setpriv')
  return setpriv ? [setpriv, '--pdeathsig', 'KILL', '--', program] : [program]
}

/** Small fixed environment for host programs. */
export function hostEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const keep = ['PATH', 'HOME', 'TMPDIR', 'http_proxy', 'https_proxy', 'no_proxy', 'NO_PROXY', 'HTTPS_PROXY']
  const kept = keep.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return { ...Object.fromEntries(kept), LC_ALL: 'C', ...extra }
}

/** Never rejects because of the program's exit code. Rejects with the signal's reason when aborted. */
export async function runHostProgram(
  name: string,
  args: readonly string[],
  options: HostProgramOptions = {},
): Promise<HostProgramResult> {
  const [file, ...prefix] = mortal(name)
  const status = options.onStatusLine ? ['-o', 'APT::Status-Fd=3'] : []
  const child = execa(file, [...prefix, ...status, ...args], {
    env: hostEnvironment(options.environment),
    extendEnv: false,
    stdio: ['ignore', 'pipe', 'pipe', options.onStatusLine ? 'pipe' : 'ignore'],
    buffer: { fd3: false },
    reject: false,
    // Ctrl-C reaches us alone; we abort and clean up in order.
    detached: true,
    ...(options.signal ? { cancelSignal: options.signal } : {}),
  })
  if (options.onStatusLine) {
    createInterface({ input: child.stdio[3] as unknown as Readable }).on('line', options.onStatusLine)
  }
  const result = await child
  options.signal?.throwIfAborted()
  if (result.exitCode === undefined && result.signal === undefined) throw result.cause ?? result
  return { exitCode: result.exitCode, stdout: String(result.stdout), stderr: String(result.stderr) }
}
