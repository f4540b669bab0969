/**
 * Where a bundle is put together or unpacked: a directory of this process alone in the system's temporary one, which says
 * whose it is, as run directories do. What a process that was killed left there goes with the next one.
 */
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeAtExit } from '../system/leftovers.ts'
import { isAlive, ownIdentity, type ProcessIdentity } from '../system/process-table.ts'

const PREFIX = 'attestbed-bundle-'
const OWNER_FILE = 'owner.json'
const CONTENT = 'content'

/** Disposed of by whoever asked for it; it ends with the process otherwise. */
export interface PrivateDirectory extends AsyncDisposable {
  /** Empty. */
  readonly path: string
  [Symbol.asyncDispose](): Promise<void>
}

/** Throws what the system says where there is no room for it. */
export async function privateDirectory(temporary: string = tmpdir()): Promise<PrivateDirectory> {
  await removeAbandoned(temporary)
  const whole = await mkdtemp(join(temporary, PREFIX))
  const kept = removeAtExit(whole)
  const remove = async () => {
    await rm(whole, { recursive: true, force: true })
    kept[Symbol.dispose]()
  }
  try {
    await writeFile(join(whole, OWNER_FILE), JSON.stringify(ownIdentity()), { flag: 'wx', mode: 0o600 })
    const path = join(whole, CONTENT)
    await mkdir(path, { mode: 0o700 })
    return { path, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}

/** Those of this user whose process is gone. One that does not say whose it is stays. */
async function removeAbandoned(temporary: string): Promise<void> {
  const names = await readdir(temporary).catch(() => [])
  for (const name of names.filter((each) => each.startsWith(PREFIX))) {
    const path = join(temporary, name)
    if (await isAbandoned(path)) await rm(path, { recursive: true, force: true }).catch(() => {})
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  try {
    const directory = await lstat(path)
    // Anybody may make directories in there.
    if (!directory.isDirectory() || directory.uid !== process.getuid?.()) return false
    return !isAlive(JSON.parse(await readFile(join(path, OWNER_FILE), 'utf8')) as ProcessIdentity)
  } catch {
    return false
  }
}
