/**
 * Remembers what programs answered, so that `run` starts at once. A key names everything an answer depends on;
 * a changed host or changed tools ask again under another key.
 */

import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writePrivateFile } from '../system/files.ts'

export interface AnswerCache {
  /** The remembered answer, else `ask`'s. `keepMs` says how long an answer holds; the default is for ever. */
  remember<Answer>(
    question: string,
    ask: () => Promise<Answer>,
    keepMs?: (answer: Answer) => number,
  ): Promise<Answer>
}

interface Remembered {
  readonly expires: number
  readonly answer: unknown
}

/** Raise it when the shape of an answer changes. */
const FORMAT = 1

export interface FileCacheSpec {
  /** Made where it does not exist. */
  readonly directory: string
  /** Whatever the answers depend on: boot id, kernel, tools, devices. */
  readonly dependsOn: readonly string[]
  /** Ask again, and remember the new answers. */
  readonly fresh: boolean
}

/** One file an answer, replaced by rename: two runs at once both end with a whole one. */
export function fileCache(spec: FileCacheSpec): AnswerCache {
  return {
    async remember(question, ask, keepMs = () => Number.POSITIVE_INFINITY) {
      const key = createHash('sha256')
        .update(JSON.stringify([FORMAT, question, ...spec.dependsOn]))
        .digest('hex')
      const file = join(spec.directory, `${question}-${key.slice(0, 16)}.json`)
      const known = spec.fresh ? undefined : await readRemembered(file)
      // What was written under this key came from `ask`, so it has its type.
      if (known) return known.answer as Awaited<ReturnType<typeof ask>>
      const answer = await ask()
      const expires = Math.min(Date.now() + keepMs(answer), Number.MAX_SAFE_INTEGER)
      await write(file, spec.directory, { expires, answer })
      return answer
    },
  }
}

/** A damaged or expired file is as good as none. */
async function readRemembered(file: string): Promise<Remembered | undefined> {
  try {
    const known = JSON.parse(await readFile(file, 'utf8')) as Remembered
    return known.expires > Date.now() ? known : undefined
  } catch {
    return undefined
  }
}

/** A full disk or a read-only cache costs time, not the answer. */
async function write(file: string, directory: string, remembered: Remembered): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writePrivateFile(file, JSON.stringify(remembered))
  } catch {
    return
  }
}
