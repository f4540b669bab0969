/** Debian packages with all they depend on, unpacked into a directory. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { HostError } from '../base/errors.ts'
import { extractDebs } from './apt/extract.ts'
import { findMirror } from './apt/mirror.ts'
import { type PlannedPackage, PrivateApt } from './apt/private-apt.ts'
import { requireFreeSpace } from './disk-space.ts'
import { withLock } from './lock.ts'
import { resolvePaths } from './paths.ts'
import { type InstalledPackage, TOOLS_SUITE } from './tools-manifest.ts'

export interface PackageProgress {
  readonly phase: 'lists' | 'download' | 'extract'
  /** Of `total`: percent for lists, bytes for download, packages for extract. */
  readonly done: number
  readonly total: number
}

export interface ExtractPackagesOptions {
  /** Debian code name; default: the tools tree's. */
  readonly suite?: string
  readonly packages: readonly string[]
  /** Existing directory. */
  readonly into: string
  /** tar patterns, such as `./usr/share/man/*`. */
  readonly exclude?: readonly string[]
  readonly onProgress?: (progress: PackageProgress) => void
  readonly signal?: AbortSignal
  readonly environment?: NodeJS.ProcessEnv
  /** Called when another process uses the private apt. */
  readonly onWait?: () => void
}

const DAY_MS = 24 * 60 * 60 * 1000
/** Unpacked size over download size, seen 2.4 to 3.3 for trees without documentation. */
const UNPACK_FACTOR = 4

/**
 * Downloads through a private apt and unpacks, without running any maintainer script. As an ordinary user everything
 * belongs to that user; modes are kept exactly. Throws HostError 'mirror-missing', 'mirror-dead', 'no-network',
 * 'disk-full', 'program-missing' or 'setup-failed'. Safe to interrupt: downloads are continued next time.
 */
export async function extractPackages(options: ExtractPackagesOptions): Promise<readonly InstalledPackage[]> {
  const { into, signal, onProgress } = options
  const environment = options.environment ?? process.env
  const directory = join(resolvePaths(environment).cache, 'apt')
  const lockOptions = options.onWait ? { onWait: options.onWait } : {}
  return withLock(join(directory, 'lock'), lockOptions, async () => {
    const apt = new PrivateApt({
      directory,
      suite: options.suite ?? TOOLS_SUITE,
      mirror: findMirror({ environment }),
      signal,
    })
    const planned = await fetchAll(apt, options)
    await extractDebs(planned, into, {
      exclude: options.exclude ?? [],
      signal,
      onPackage: (done) => onProgress?.({ phase: 'extract', done, total: planned.length }),
    })
    return planned.map(({ name, version, architecture, sha256 }) => ({ name, version, architecture, sha256 }))
  })
}

/** Lists of some hours ago may name files that the mirror has replaced since: then once more with fresh ones. */
async function fetchAll(apt: PrivateApt, options: ExtractPackagesOptions): Promise<PlannedPackage[]> {
  const onProgress = (done: number) => options.onProgress?.({ phase: 'lists', done, total: 100 })
  const fresh = await apt.update({ maxAgeMs: DAY_MS, onProgress })
  try {
    return await planAndDownload(apt, options)
  } catch (error) {
    const outdated =
      error instanceof HostError && (error.code === 'mirror-dead' || error.code === 'setup-failed')
    if (fresh || !outdated) throw error
    await apt.update({ maxAgeMs: 0, onProgress })
    return await planAndDownload(apt, options)
  }
}

async function planAndDownload(apt: PrivateApt, options: ExtractPackagesOptions): Promise<PlannedPackage[]> {
  const { onProgress, packages, into } = options
  const planned = await apt.plan(packages)
  const missing = planned.filter((p) => statSync(p.file, { throwIfNoEntry: false })?.size !== p.size)
  const total = missing.reduce((sum, p) => sum + p.size, 0)
  const unpacked = UNPACK_FACTOR * planned.reduce((sum, p) => sum + p.size, 0)
  await requireFreeSpace(into, total + unpacked, 'unpacking packages')
  onProgress?.({ phase: 'download', done: 0, total })
  if (missing.length > 0) {
    await apt.download(packages, (percent) =>
      onProgress?.({ phase: 'download', done: Math.round((total * percent) / 100), total }),
    )
  }
  return planned
}
