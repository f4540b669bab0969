/** Opens a bundle that anybody may have made: unpacked into a private directory, every byte as its manifest says. */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdDecompress } from 'node:zlib'
import { AttestbedError, FormatError, UsageError } from '../base/errors.ts'
import { requireFreeSpace } from '../system/disk-space.ts'
import { diskFullOr, errorCode } from '../system/files.ts'
import type { Scope } from '../system/scope.ts'
import {
  MOST_FILE_BYTES,
  MOST_MANIFEST_BYTES,
  MOST_RATIO,
  MOST_TOTAL_BYTES,
  RATIO_FROM_BYTES,
  WINDOW_LOG,
} from './limits.ts'
import { type BundleMember, MANIFEST_PATH, type Manifest, parseManifest } from './manifest.ts'
import { privateDirectory } from './private-directory.ts'
import { readTar, type TarEntry } from './tar-reader.ts'
import { requireOneFrame } from './zstd-frame.ts'

export interface OpenedBundle {
  readonly manifest: Manifest
  /** Holds the members; it ends with the scope. */
  readonly directory: string
  /** Absolute path of a member; undefined where there is none. */
  member(path: string): string | undefined
}

/** Where the bundle is unpacked; default: the system's temporary directory. */
export interface ReadOptions {
  readonly temporary?: string
}

/** Headers and padding of the archive, beside what the members hold. */
const ARCHIVE_OVERHEAD = 8 * 2 ** 20

/**
 * Throws UsageError `bad-value` where there is no such file, FormatError for everything that is wrong in it; then nothing of
 * it is left. Nothing is written outside of the directory, and nothing of it is run.
 */
export async function openBundle(
  scope: Scope,
  file: string,
  { temporary = tmpdir() }: ReadOptions = {},
): Promise<OpenedBundle> {
  const fileBytes = await requireBundleFile(file)
  const own = await privateDirectory(temporary)
  const directory = own.path
  scope.defer(`unpacked bundle ${directory}`, () => own[Symbol.asyncDispose]())
  const unpacker = new Unpacker(directory)
  try {
    const most = Math.min(
      MOST_TOTAL_BYTES + ARCHIVE_OVERHEAD,
      Math.max(RATIO_FROM_BYTES, fileBytes * MOST_RATIO),
    )
    await pipeline(
      createReadStream(file),
      createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG } }),
      atMost(most, fileBytes),
      (source: AsyncIterable<Uint8Array>) => readTar(source, (entry) => unpacker.open(entry)),
    )
    const manifest = unpacker.finish()
    return { manifest, directory, member: (path) => (unpacker.has(path) ? join(directory, path) : undefined) }
  } catch (error) {
    await unpacker.abandon()
    await own[Symbol.asyncDispose]()
    throw readingFailed(file, error)
  }
}

async function requireBundleFile(file: string): Promise<number> {
  let handle: FileHandle | undefined
  try {
    handle = await open(file)
    const stat = await handle.stat()
    if (!stat.isFile()) throw new UsageError(`${file} is no regular file`, { code: 'bad-value' })
    if (stat.size > MOST_FILE_BYTES)
      throw new FormatError(
        `cannot read the bundle ${file}: it has ${stat.size} bytes, at most ${MOST_FILE_BYTES} are possible`,
        { code: 'too-large', field: 'file', offset: 0 },
      )
    await requireOneFrame(handle, stat.size)
    return stat.size
  } catch (error) {
    if (error instanceof AttestbedError) throw error
    throw new UsageError(`cannot open the bundle ${file}: ${errorCode(error) ?? String(error)}`, {
      ...{ code: 'bad-value', cause: error },
    })
  } finally {
    await handle?.close()
  }
}

/** Stops before what is unpacked gets out of proportion. */
function atMost(most: number, fileBytes: number): Transform {
  let total = 0
  return new Transform({
    transform(chunk: Buffer, _, done) {
      total += chunk.length
      if (total <= most) return done(null, chunk)
      done(
        new FormatError(
          `cannot read the bundle: its ${fileBytes} bytes unpack to more than ${most}, the most that is believed`,
          { code: 'too-large', field: 'file', offset: most },
        ),
      )
    },
  })
}

class Unpacker {
  readonly #directory: string
  #manifest: Manifest | undefined
  #next = 0
  #open: FileHandle | undefined

  constructor(directory: string) {
    this.#directory = directory
  }

  async open(entry: TarEntry) {
    return this.#manifest === undefined ? this.#readManifest(entry) : this.#readMember(this.#manifest, entry)
  }

  #readManifest({ path, size, offset }: TarEntry) {
    if (path !== MANIFEST_PATH)
      throw refused(offset, `its first member is ${JSON.stringify(path)}, ${MANIFEST_PATH} is required`)
    if (size > MOST_MANIFEST_BYTES)
      throw refused(offset, `its manifest has ${size} bytes, at most ${MOST_MANIFEST_BYTES} are possible`)
    const parts: Uint8Array[] = []
    return {
      take: (piece: Uint8Array) => void parts.push(Buffer.from(piece)),
      close: async () => {
        const content = Buffer.concat(parts)
        const manifest = parseManifest(content)
        const needed = manifest.members.reduce((sum, { bytes }) => sum + bytes, 0)
        await requireFreeSpace(this.#directory, needed, 'unpacking the bundle')
        await writeFile(join(this.#directory, MANIFEST_PATH), content, { flag: 'wx', mode: 0o600 })
        this.#manifest = manifest
      },
    }
  }

  async #readMember({ members }: Manifest, entry: TarEntry) {
    const member = members[this.#next]
    const { path, size, offset } = entry
    if (member === undefined || member.path !== path)
      throw refused(
        offset,
        `a member is ${JSON.stringify(path)}, its manifest names ${JSON.stringify(member?.path ?? 'none')} here`,
      )
    if (member.bytes !== size)
      throw refused(offset, `${path} has ${size} bytes, its manifest says ${member.bytes}`)
    const file = join(this.#directory, path)
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const handle = await open(file, 'wx', 0o600)
    this.#open = handle
    const hash = createHash('sha256')
    return {
      take: async (piece: Uint8Array) => {
        hash.update(piece)
        await handle.writeFile(piece)
      },
      close: () => this.#finishMember(member, { hash, offset }),
    }
  }

  async #finishMember(member: BundleMember, { hash, offset }: { hash: Hash; offset: number }): Promise<void> {
    await this.abandon()
    const digest = hash.digest('hex')
    if (digest !== member.sha256)
      throw refused(offset, `the SHA-256 of ${member.path} is ${digest}, its manifest says ${member.sha256}`)
    this.#next += 1
  }

  /** Throws FormatError `truncated` where not everything has come. */
  finish(): Manifest {
    const missing = this.#manifest?.members[this.#next]
    if (this.#manifest && missing === undefined) return this.#manifest
    throw new FormatError(`cannot read the bundle: ${missing?.path ?? MANIFEST_PATH} is missing`, {
      ...{ code: 'truncated', field: 'archive', offset: 0 },
    })
  }

  has(path: string): boolean {
    return this.#manifest?.members.some((member) => member.path === path) ?? false
  }

  async abandon(): Promise<void> {
    const handle = this.#open
    this.#open = undefined
    await handle?.close()
  }
}

function refused(offset: number, reason: string): FormatError {
  return new FormatError(`cannot read the bundle: ${reason}`, {
    ...{ code: 'bad-value', field: 'archive', offset },
  })
}

/** What zstd finds wrong is no bug of ours. */
function readingFailed(file: string, error: unknown): unknown {
  const code = errorCode(error)
  if (error instanceof AttestbedError || !/^Z(STD)?_/.test(code ?? ''))
    return diskFullOr(error, `unpacking ${file}`)
  return new FormatError(`cannot read the bundle ${file}: its zstd data are broken or cut off (${code})`, {
    ...{ code: 'truncated', field: 'file', offset: 0, cause: error },
  })
}
