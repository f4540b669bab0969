/** Kernels: package, modules and all, shared by the images that boot them. */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { InstalledPackage } from '../system/tools-manifest.ts'
import type { MaterialContext } from './context.ts'
import { ensurePackages } from './guest-packages.ts'
import { indexModules } from './module-closure.ts'

export interface Kernel {
  /** As in /usr/lib/modules/<release>. */
  readonly release: string
  /** The bzImage. */
  readonly image: string
  /** Tree with /usr/lib/modules/<release>, indexed by depmod; never written to. */
  readonly tree: string
  /** Identifies names, versions and contents of all packages. */
  readonly digest: string
  readonly packages: readonly InstalledPackage[]
}

/** Only the kernel and its modules stay: what else comes along builds initrds by maintainer scripts, which do not run. */
const LEFT_OUT = ['./etc/*', './usr/bin/*', './usr/sbin/*', './usr/share/*', './usr/lib/[!m]*', './var/*']

export async function ensureKernel(
  context: MaterialContext,
  request: { readonly image: string; readonly suite: string; readonly package: string },
): Promise<Kernel> {
  const { tree, digest, packages } = await ensurePackages(context, {
    ...{ image: request.image, what: 'kernel', suite: request.suite },
    packages: [request.package],
    exclude: LEFT_OUT,
    finish: async (made) => indexModules(context.tools, made, (await findKernel(made)).release),
  })
  return { ...(await findKernel(tree)), tree, digest, packages }
}

/** Throws MaterialError `missing` unless the tree has exactly one kernel. */
async function findKernel(tree: string): Promise<Pick<Kernel, 'release' | 'image'>> {
  const releases = await readdir(join(tree, 'usr/lib/modules')).catch(() => [])
  const [release] = releases
  if (release === undefined || releases.length !== 1)
    throw new MaterialError(
      `cannot use the kernel in ${tree}: it has ${releases.length} kernels, one is required`,
      {
        code: 'missing',
      },
    )
  const candidates = [join('usr/lib/modules', release, 'vmlinuz'), join('boot', `vmlinuz-${release}`)]
  for (const candidate of candidates) {
    const names = await readdir(join(tree, dirname(candidate))).catch(() => [] as string[])
    if (names.includes(basename(candidate))) return { release, image: join(tree, candidate) }
  }
  throw new MaterialError(
    `cannot find the image of kernel ${release} in ${tree}: tried ${candidates.join(', ')}`,
    {
      code: 'missing',
    },
  )
}
