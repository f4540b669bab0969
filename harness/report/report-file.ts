/** Where a report goes. */
import { randomBytes } from 'node:crypto'
import { chmodSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/**
 * Replaces `file` by rename, so that a reader sees a whole report or none; what is no regular file, a pipe or a device,
 * is written to. Reports quote guests and paths, so a new one is the user's alone. Throws what the system throws.
 */
export function writeReport(file: string, text: string): void {
  const about = statSync(file, { throwIfNoEntry: false })
  if (about && !about.isFile()) {
    writeFileSync(file, text)
    return
  }
  const temporary = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}`)
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' })
    if (about) chmodSync(temporary, about.mode & 0o777)
    renameSync(temporary, file)
  } finally {
    rmSync(temporary, { force: true })
  }
}
