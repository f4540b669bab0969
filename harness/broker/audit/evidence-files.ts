/** Evidence kept beside the log: a file for each document, named by its digest. */

import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** On the disk when it returns; what is there already is left as it is. */
export async function keepEvidence(directory: string, digest: string, text: string): Promise<void> {
  const path = join(directory, `${digest}.json`)
  if (await stat(path).catch(() => undefined)) return
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const temporary = join(directory, `.${digest}.${randomBytes(6).toString('hex')}`)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
}
