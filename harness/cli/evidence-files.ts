/** Files that `verify`, `inspect` and `certs` are given: read whole, with a limit, since anyone may have made them. */
import { open, readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'

/** Above every limit that a parser has (event logs: 16 MiB). */
const MAX_FILE_BYTES = 32 * 1024 * 1024
const MAX_FILES_IN_DIRECTORY = 256

/** Throws UsageError `bad-value` where it cannot be read or is larger than 32 MiB. */
export async function readEvidenceFile(path: string): Promise<Buffer> {
  try {
    const file = await open(path)
    try {
      return await readAtMost(path, file)
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause
    throw unreadable(path, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

/** Not by its size: a pipe has none, and a file may grow. */
async function readAtMost(path: string, file: Awaited<ReturnType<typeof open>>): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of file.createReadStream({ autoClose: false })) {
    length += piece.length
    if (length > MAX_FILE_BYTES) throw unreadable(path, `it has more than ${MAX_FILE_BYTES} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/**
 * The files themselves, and for a directory every file right in it, in the order of names. Throws UsageError `bad-value`
 * for a directory without any: an empty answer would look as if nothing had been asked for.
 */
export async function readEvidenceFiles(paths: readonly string[]): Promise<readonly Buffer[]> {
  const files = await Promise.all(paths.map(filesAt))
  return Promise.all(files.flat().map(readEvidenceFile))
}

async function filesAt(path: string): Promise<readonly string[]> {
  const found = await stat(path).catch((cause: Error) => {
    throw unreadable(path, cause.message, cause)
  })
  if (!found.isDirectory()) return [path]
  const entries = await readdir(path, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name)
  if (names.length > MAX_FILES_IN_DIRECTORY)
    throw unreadable(path, `it has ${names.length} files, at most ${MAX_FILES_IN_DIRECTORY} are read`)
  if (names.length === 0) throw unreadable(path, 'the directory has no files')
  return names.sort().map((name) => join(path, name))
}

function unreadable(path: string, problem: string, cause?: unknown): UsageError {
  return new UsageError(`cannot read ${escapeControls(path)}: ${escapeControls(problem)}`, {
    code: 'bad-value',
    cause,
  })
}

/** Reads what a policy names: a path relative to the policy's own file. */
export function besides(policyFile: string): (name: string) => Promise<Uint8Array> {
  return (name) => readEvidenceFile(resolve(dirname(policyFile), name))
}

/** A policy's text, at most 32 MiB; its parser takes less. Throws UsageError `bad-config`. */
export async function readPolicyText(file: string): Promise<string> {
  const bytes = await readEvidenceFile(file).catch((cause: Error) => {
    throw new UsageError(cause.message, { code: 'bad-config', cause })
  })
  return bytes.toString('utf8')
}
