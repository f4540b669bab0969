/**
 * Run directories: private to their user, each with an owner while it is in use. What an owner that was killed left
 * behind is cleaned by the next run; a run whose owner lives is never touched.
 */

import { randomBytes } from 'node:crypto'
import type { Dirent } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { diskFullOr, errorCode, writePrivateFile } from './files.ts'
import { isAlive, ownIdentity, type ProcessIdentity } from './process-table.ts'
import type { Scope } from './scope.ts'

const OWNER_FILE = 'owner.json'
/** What the owner file becomes when its process is gone. */
const INTERRUPTED_FILE = 'interrupted.json'
/** Disks, overlays, a guest's memory: large, and of no use once their VM is gone. Secrets and sockets likewise. */
const SCRATCH_FILE = /\.(qcow2|img|secret)$/
const RUN_NAME = /^\d{8}T\d{6}Z-[0-9a-f]{4}$/

/**
 * Makes `<runs>/20261122T041502Z-1f3a`, mode 0700, owned by this process until the scope is closed. Throws HostError
 * 'disk-full'.
 */
export async function createRunDirectory(scope: Scope, runs: string, now = new Date()): Promise<string> {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '')
  const directory = join(runs, `${time}-${randomBytes(2).toString('hex')}`)
  try {
    await mkdir(runs, { recursive: true, mode: 0o700 })
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return createRunDirectory(scope, runs, now)
    throw diskFullOr(error, `creating ${directory}`)
  }
  const owner = join(directory, OWNER_FILE)
  scope.defer(`ownership of ${directory}`, () => rm(owner, { force: true }))
  await writePrivateFile(owner, JSON.stringify(ownIdentity()))
  return directory
}

/**
 * Removes the disks, overlays and sockets of runs whose owner is dead and marks them interrupted; logs and
 * transcripts stay. Returns the directories that it cleaned. What another user owns is passed over.
 */
export async function cleanStaleRuns(runs: string): Promise<readonly string[]> {
  const names = (await entries(runs)).filter((entry) => entry.isDirectory() && RUN_NAME.test(entry.name))
  const cleaned: string[] = []
  for (const { name } of names) {
    const directory = join(runs, name)
    if (!(await isAbandoned(directory))) continue
    await removeScratch(directory)
    // Last, so that an interrupted cleaning is done again.
    await rename(join(directory, OWNER_FILE), join(directory, INTERRUPTED_FILE)).catch(() => {})
    cleaned.push(directory)
  }
  return cleaned
}

async function isAbandoned(directory: string): Promise<boolean> {
  try {
    const owner = JSON.parse(await readFile(join(directory, OWNER_FILE), 'utf8')) as ProcessIdentity
    return !isAlive(owner)
  } catch {
    // No owner file: the run ended. One that cannot be read is not ours to judge.
    return false
  }
}

async function removeScratch(directory: string): Promise<void> {
  for (const entry of await entries(directory)) {
    const path = join(directory, entry.name)
    // Links are not followed: a Dirent tells what the entry itself is.
    if (entry.isDirectory()) await removeScratch(path)
    else if (entry.isSocket() || SCRATCH_FILE.test(entry.name)) await rm(path, { force: true })
  }
}

async function entries(directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES') return []
    throw error
  }
}
