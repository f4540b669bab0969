/** Debian's signed shim: a distribution's first boot program, for firmware that knows only Microsoft's keys. */
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256File } from '../system/files.ts'
import type { InstalledPackage } from '../system/tools-manifest.ts'
import { contentKey, type MaterialContext } from './context.ts'
import { ensurePackages } from './guest-packages.ts'

export interface Shim {
  readonly file: string
  readonly sha256: string
  readonly packages: readonly InstalledPackage[]
}

const SUITE = 'forky'
const SIGNED = 'usr/lib/shim/shimx64.efi.signed'
/** Its package depends on programs that install it on a machine; of all that only the boot program stays. */
const LEFT_OUT = [
  ...['./boot/*', './etc/*', './var/*', './usr/bin/*', './usr/sbin/*', './usr/share/*'],
  ...['./usr/libexec/*', './usr/lib/[!s]*', './usr/lib/systemd/*'],
]

export async function ensureShim(context: MaterialContext): Promise<Shim> {
  const { tree, packages, digest } = await ensurePackages(context, {
    ...{ image: 'shim', what: 'shim-signed', suite: SUITE, packages: ['shim-signed'], exclude: LEFT_OUT },
  })
  // A place of its own, without what came along.
  const key = contentKey({ loader: 'shim', packages: digest })
  const directory = await context.store.ensure('loader', key, async (into) => {
    await copyFile(join(tree, SIGNED), join(into, 'shim.efi'))
    await writeFile(join(into, 'sha256'), await sha256File(join(into, 'shim.efi')))
  })
  const file = join(directory, 'shim.efi')
  return { file, sha256: await sha256File(file), packages }
}
