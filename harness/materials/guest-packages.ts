/** The Debian packages of an image, downloaded and extracted, each set once. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import type { InstalledPackage } from '../system/tools-manifest.ts'
import { contentKey, type MaterialContext } from './context.ts'

export interface PackageTree {
  /** Root of the extracted files; never written to. */
  readonly tree: string
  readonly packages: readonly InstalledPackage[]
  /** Identifies names, versions and contents of all packages. */
  readonly digest: string
}

export interface PackageRequest {
  /** Image that wants them, for progress. */
  readonly image: string
  /** What they are to it: "kernel", "packages". */
  readonly what: string
  readonly suite: string
  readonly packages: readonly string[]
  /** tar patterns, such as `./usr/share/man/*`. */
  readonly exclude: readonly string[]
  /** Changes the tree before it becomes read-only; the same for equal packages. */
  readonly finish?: (tree: string) => Promise<void>
}

/** Bump when what is kept of the packages changes. */
const FORMAT = 1

/**
 * A set stays as it was first downloaded until its names change or the cache goes: newer packages in the archive
 * do not change an image behind its user's back.
 */
export async function ensurePackages(
  context: MaterialContext,
  request: PackageRequest,
): Promise<PackageTree> {
  const { image, what, suite } = request
  const packages = [...request.packages].sort()
  const exclude = [...request.exclude].sort()
  const key = contentKey({ format: FORMAT, suite, packages, exclude })
  const directory = await context.store.ensure('guest-packages', key, async (into) => {
    await mkdir(join(into, 'tree'))
    // Only who has to download needs what it takes to: a warm start is quicker without.
    const { extractPackages } = await import('../system/packages.ts')
    const installed = await extractPackages({
      ...{ suite, packages, exclude },
      into: join(into, 'tree'),
      onProgress: ({ phase, done, total }) =>
        context.progress?.({ image, step: what, detail: `${phase} ${done}/${total}` }),
      ...(context.signal && { signal: context.signal }),
    })
    await request.finish?.(join(into, 'tree'))
    await writeFile(join(into, 'packages.json'), JSON.stringify(installed, null, 1))
  })
  const list = await readFile(join(directory, 'packages.json'), 'utf8')
  return {
    tree: join(directory, 'tree'),
    packages: JSON.parse(list) as InstalledPackage[],
    digest: sha256Hex(list),
  }
}
