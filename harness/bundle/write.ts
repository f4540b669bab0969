/** Writes a bundle: every member scrubbed, hashed and named in a manifest that comes first. */
import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib'
import { create } from 'tar'
import { sha256Hex } from '../base/digest.ts'
import { MaterialError, UsageError } from '../base/errors.ts'
import { diskFullOr } from '../system/files.ts'
import { removeAtExit } from '../system/leftovers.ts'
import type { Collected, Source } from './collect.ts'
import {
  MOST_MANIFEST_BYTES,
  MOST_MEMBERS,
  MOST_RATIO,
  MOST_TOTAL_BYTES,
  RATIO_FROM_BYTES,
  WINDOW_LOG,
} from './limits.ts'
import { type BundleMember, MANIFEST_PATH, type Manifest, parseManifest } from './manifest.ts'
import { privateDirectory } from './private-directory.ts'
import { type ScrubCounts, scrub, scrubText } from './scrub.ts'
import type { SecretKind, SecretPattern } from './secrets.ts'
import { firstFrameBytes } from './zstd-frame.ts'

export interface BundleContent extends Collected {
  /** Documents that are made for the bundle. */
  readonly documents: Readonly<Record<string, Uint8Array>>
  /** All that is known before the members are. */
  readonly about: Omit<Manifest, 'members' | 'leftOut' | 'scrubbed' | 'materials'>
}

export interface WriteOptions {
  readonly patterns: readonly SecretPattern[]
  /** What the bundle may take at most, compressed, in bytes. */
  readonly most: number
}

export interface WrittenBundle {
  readonly manifest: Manifest
  readonly bytes: number
}

const LEVEL = 3
/** Smaller members are not worth a trial of how small they get. */
const TRIED_FROM = 2 ** 20
/** A header, and padding to whole blocks. */
const PER_MEMBER = 1024
const ORDER: Readonly<Record<Source['rank'], number>> = { record: 0, material: 1, disk: 2 }

/** Appears by rename. Throws MaterialError `disk-full` and the like; what is half done is removed. */
export async function writeBundle(
  file: string,
  content: BundleContent,
  options: WriteOptions,
): Promise<WrittenBundle> {
  await using own = await privateDirectory()
  const staging = own.path
  const partial = `${file}.part`
  using _partial = removeAtExit(partial)
  try {
    const manifest = await stage(staging, content, options)
    const text = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)
    requireReadable(text)
    await writeFile(join(staging, MANIFEST_PATH), text)
    const paths = [MANIFEST_PATH, ...manifest.members.map(({ path }) => path)]
    // Nothing of the machine: no owner, no times. The same run gives the same bytes but for the time it was made.
    const archive = create(
      { cwd: staging, portable: true, noDirRecurse: true, noPax: true, mtime: new Date(0), strict: true },
      paths,
    )
    const zstd = createZstdCompress({ params: PARAMETERS })
    await pipeline(Readable.from(archive), zstd, createWriteStream(partial, { mode: 0o600 }))
    await keepFirstFrame(partial)
    await rename(partial, file)
    return { manifest, bytes: (await stat(file)).size }
  } catch (error) {
    await rm(partial, { force: true })
    throw diskFullOr(error, `writing ${file}`)
  }
}

/** As a reader will see it: a bundle that nobody can open is not written. */
function requireReadable(text: Uint8Array): void {
  try {
    if (text.length > MOST_MANIFEST_BYTES)
      throw new Error(`it has ${text.length} bytes, at most ${MOST_MANIFEST_BYTES} are possible`)
    parseManifest(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(`cannot bundle this run, no reader would take it: ${reason}`, {
      ...{ code: 'bad-value', cause },
    })
  }
}

/** Masked where it is words. Ids, digests and paths of members are none, and are compared. */
function maskTexts(manifest: Manifest, patterns: readonly SecretPattern[]): Manifest {
  const clean = (text: string): string => scrubText(text, patterns)
  const { signature, scenario, variant } = manifest
  const falseClaims = signature.falseClaims.map(({ id, claim, expected, got }) => {
    return { id, claim: clean(claim), expected: clean(expected), got: clean(got) }
  })
  return {
    ...manifest,
    scenario: { ...scenario, title: clean(scenario.title) },
    variant: { ...variant, qemu: clean(variant.qemu) },
    argv: manifest.argv.map(clean),
    signature: {
      ...{ ...signature, falseClaims, reason: clean(signature.reason) },
      ...{ console: signature.console.map(clean), variant: { ...variant, qemu: clean(variant.qemu) } },
    },
    materials: manifest.materials.map((each) => ({ ...each, name: clean(each.name) })),
    leftOut: manifest.leftOut.map((each) => ({
      ...each,
      what: clean(each.what),
      reason: clean(each.reason),
    })),
  }
}

/** Node 24 ends what it compresses with a second frame, an empty one. */
async function keepFirstFrame(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.truncate(await firstFrameBytes(handle, (await handle.stat()).size))
  } finally {
    await handle.close()
  }
}

const PARAMETERS = {
  [constants.ZSTD_c_compressionLevel]: LEVEL,
  [constants.ZSTD_c_windowLog]: WINDOW_LOG,
  [constants.ZSTD_c_checksumFlag]: 1,
}

async function stage(staging: string, content: BundleContent, options: WriteOptions): Promise<Manifest> {
  const members: BundleMember[] = []
  const leftOut = [...content.leftOut]
  const scrubbed: Manifest['scrubbed'] = []
  let room = options.most
  let total = 0
  const add = async (path: string, bytes: Buffer): Promise<string | undefined> => {
    const before = sha256Hex(bytes)
    const counts = scrub(bytes, options.patterns)
    const taken = PER_MEMBER + packedSize(bytes)
    if (taken > room)
      return `it takes ${taken} bytes, ${Math.max(0, room)} are left of the ${options.most} of a bundle`
    const reason = refusedFor({
      count: members.length + 1,
      total: total + bytes.length,
      packed: options.most - room + taken,
    })
    if (reason !== undefined) return reason
    room -= taken
    total += bytes.length
    const target = join(staging, path)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    await writeFile(target, bytes, { mode: 0o600 })
    const isChanged = Object.keys(counts).length > 0
    members.push({
      ...{ path, bytes: bytes.length, sha256: isChanged ? sha256Hex(bytes) : before },
      ...(isChanged && { original: before }),
    })
    scrubbed.push(...countsOf(path, counts))
    return undefined
  }
  for (const [path, bytes] of Object.entries(content.documents)) {
    const reason = await add(path, Buffer.from(bytes))
    if (reason !== undefined) leftOut.push({ what: path, bytes: bytes.length, reason })
  }
  const inOrder = content.sources.toSorted((left, right) => ORDER[left.rank] - ORDER[right.rank])
  for (const { path, file, bytes } of inOrder) {
    const reason = await add(path, await readWhole(file))
    if (reason !== undefined) leftOut.push({ what: path, bytes, reason })
  }
  const carried = new Set(members.map(({ path }) => path))
  const materials = content.materials.map(({ member, ...material }) =>
    member !== undefined && carried.has(member) ? { ...material, member } : material,
  )
  const shown = leftOut.slice(0, MOST_MEMBERS)
  return maskTexts({ ...content.about, materials, members, leftOut: shown, scrubbed }, options.patterns)
}

/** Of what a reader believes; half of the ratio, since what is packed together packs better than each by itself. */
function refusedFor({
  count,
  total,
  packed,
}: {
  readonly count: number
  readonly total: number
  readonly packed: number
}): string | undefined {
  if (count > MOST_MEMBERS) return `a bundle has at most ${MOST_MEMBERS} members`
  if (total > MOST_TOTAL_BYTES) return `the members would take more than ${MOST_TOTAL_BYTES} bytes`
  if (total > RATIO_FROM_BYTES && total > (packed * MOST_RATIO) / 2)
    return 'it is so empty that no reader would believe its size'
  return undefined
}

function packedSize(bytes: Uint8Array): number {
  if (bytes.length < TRIED_FROM) return bytes.length
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }).length
}

async function readWhole(file: string): Promise<Buffer> {
  return readFile(file).catch((cause: unknown) => {
    throw new MaterialError(`cannot bundle ${file}: ${cause instanceof Error ? cause.message : cause}`, {
      ...{ code: 'missing', cause },
      hint: 'the run directory changed meanwhile; try again',
    })
  })
}

function countsOf(member: string, counts: ScrubCounts): Manifest['scrubbed'] {
  return (Object.entries(counts) as [SecretKind, number][]).map(([kind, count]) => ({ member, kind, count }))
}
