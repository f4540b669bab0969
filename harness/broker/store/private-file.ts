/** Files with secrets: what others may read or change is not used. */
import { type FileHandle, open } from 'node:fs/promises'
import { UsageError } from '../../base/errors.ts'
import { errorCode } from '../../system/files.ts'

/** Of a key in PEM, and more. */
const MOST_BYTES = 64 * 1024

/** What the file is, in the words of an error, and what else there is to say. */
export interface PrivateFile {
  /** `the key of the store`. */
  readonly what: string
  readonly hint?: string
}

export function unusable(
  path: string,
  problem: string,
  about: PrivateFile & { readonly cause?: unknown },
): UsageError {
  const { what, hint, cause } = about
  return new UsageError(`cannot use ${what}: ${path} ${problem}`, {
    ...{ code: 'bad-config', cause },
    ...(hint !== undefined && { hint }),
  })
}

/** At most 64 KiB. Throws UsageError `bad-config`, also where others may read or change the file. */
export async function readPrivateFile(path: string, about: PrivateFile): Promise<Buffer> {
  const file = await open(path).catch((cause: unknown) => {
    throw unusable(path, errorCode(cause) ?? 'cannot be opened', { ...about, cause })
  })
  try {
    await mustBePrivate(path, file, about)
    const buffer = Buffer.alloc(MOST_BYTES + 1)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
    if (bytesRead > MOST_BYTES) throw unusable(path, `has more than ${MOST_BYTES} bytes`, about)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

async function mustBePrivate(path: string, file: FileHandle, about: PrivateFile): Promise<void> {
  const facts = await file.stat()
  if (!facts.isFile()) throw unusable(path, 'is not a file', about)
  const owner = process.getuid?.()
  if (owner !== undefined && facts.uid !== owner)
    throw unusable(path, `belongs to user ${facts.uid}, must be yours`, about)
  const mode = facts.mode & 0o777
  if ((mode & 0o077) !== 0) throw unusable(path, `has mode 0${mode.toString(8)}, must be 0600`, about)
}
