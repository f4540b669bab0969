/** Short private directories for unix sockets, whose paths the kernel limits. */

import { lstatSync, mkdirSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { HostError, LaunchError } from '../base/errors.ts'
import { resolvePaths } from './paths.ts'
import { isAlive, ownIdentity, type ProcessIdentity } from './process-table.ts'
import type { Scope } from './scope.ts'

/** sockaddr_un has 108 bytes, one of them for the terminating NUL. */
export const MAXIMUM_SOCKET_PATH = 107
/** Room that a directory leaves for the names in it. */
const LONGEST_SOCKET_NAME = 20

let made = 0
const cleanedBases = new Set<string>()

/**
 * A fresh directory, mode 0700, removed with the scope. Throws LaunchError 'socket-path-too-long' when no socket with
 * a name of 20 bytes would fit, HostError 'setup-failed' when the place is not safely ours.
 */
export async function openSocketDirectory(
  scope: Scope,
  base: string = resolvePaths().sockets,
): Promise<string> {
  claimBase(base)
  await cleanDeadOwners(base)
  made += 1
  const directory = join(base, nameOf(ownIdentity(), made))
  checkSocketPath(join(directory, 'x'.repeat(LONGEST_SOCKET_NAME)))
  scope.defer(`socket directory ${directory}`, () => rm(directory, { recursive: true, force: true }))
  await mkdir(directory, { mode: 0o700 })
  return directory
}

/** Throws LaunchError 'socket-path-too-long'; lengths are in bytes. */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path)
  if (length <= MAXIMUM_SOCKET_PATH) return
  throw new LaunchError(
    `cannot make the socket ${path}: its path has ${length} bytes, ${MAXIMUM_SOCKET_PATH} are allowed`,
    { code: 'socket-path-too-long', hint: 'Set XDG_RUNTIME_DIR or TMPDIR to a shorter directory' },
  )
}

/** In /tmp others could have made the name first: a link, or a directory of theirs. */
function claimBase(base: string): void {
  mkdirSync(base, { recursive: true, mode: 0o700 })
  const stat = lstatSync(base)
  const problem = !stat.isDirectory()
    ? 'it is not a directory'
    : stat.uid !== process.getuid?.()
      ? `it belongs to uid ${stat.uid}`
      : (stat.mode & 0o077) !== 0
        ? `its mode is ${(stat.mode & 0o777).toString(8)}, 700 is needed`
        : undefined
  if (problem === undefined) return
  throw new HostError(`cannot use the socket directory ${base}: ${problem}`, {
    code: 'setup-failed',
    hint: `Remove ${base}, or set XDG_RUNTIME_DIR or TMPDIR to a directory of your own`,
  })
}

/** Once per process: what killed processes left behind. */
async function cleanDeadOwners(base: string): Promise<void> {
  if (cleanedBases.has(base)) return
  cleanedBases.add(base)
  const { bootId } = ownIdentity()
  for (const name of await readdir(base)) {
    const owner = ownerOf(name, bootId)
    if (owner && !isAlive(owner)) await rm(join(base, name), { recursive: true, force: true })
  }
}

/** Short, and still names one process for ever. */
function nameOf(owner: ProcessIdentity, count: number): string {
  return [owner.pid, owner.startTime, owner.pidNamespace, count].map((n) => Number(n).toString(36)).join('-')
}

/** The directory does not outlive a reboot where it matters: on another boot the start time will not fit either. */
function ownerOf(name: string, bootId: string): ProcessIdentity | undefined {
  const match = /^([0-9a-z]+)-([0-9a-z]+)-([0-9a-z]+)-[0-9a-z]+$/.exec(name)
  if (!match) return undefined
  const [pid, startTime, pidNamespace] = match.slice(1).map((digits) => Number.parseInt(digits, 36))
  if (pid === undefined) return undefined
  return { pid, startTime: String(startTime), pidNamespace: String(pidNamespace), bootId }
}
