/** A browser for the tests of the HTML report: Debian's Chromium in a tree of its own, unpacked as the tools are. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DOCUMENTATION } from '../apt/extract.ts'
import { findHostProgram } from '../apt/host-program.ts'
import { extractPackages } from '../packages.ts'
import { resolvePaths } from '../paths.ts'
import { hostBinds, type SandboxedCommand, treeCommand } from '../sandbox.ts'
import { Store } from '../store.ts'
import { TOOLS_SUITE } from '../tools-manifest.ts'
import type { BuildOptions } from './tools-tree.ts'

/** The browser, a font, and what starts it: unpacking brings no Essential packages. */
const PACKAGES: readonly string[] = [
  ...['chromium', 'fonts-dejavu-core', 'fontconfig-config'],
  ...['bubblewrap', 'coreutils', 'dash', 'base-files', 'libc-bin'],
]
const PROGRAM = 'usr/lib/chromium/chromium'
const KIND = 'browser'
const HOST_NAMES = ['chromium', 'chromium-browser']

function browserKey(): string {
  return createHash('sha256')
    .update(JSON.stringify([TOOLS_SUITE, PACKAGES]))
    .digest('hex')
    .slice(0, 16)
}

/** Fetches some 250 MB, 800 MB when unpacked, where there is no tree yet. Throws HostError as `extractPackages` does. */
export async function ensureBrowserTree({ environment, progress, signal }: BuildOptions): Promise<string> {
  const store = new Store(resolvePaths(environment).cache)
  return store.ensure(KIND, browserKey(), async (into) => {
    progress.step('fetching a browser for the tests of the report')
    await extractPackages({
      ...{ suite: TOOLS_SUITE, packages: PACKAGES, into, exclude: DOCUMENTATION, environment, signal },
      onProgress: (step) => progress.packages(step),
    })
  })
}

/** What starts a browser: that of the tree, else the host's own; undefined where there is neither. Arguments follow. */
export function browserCommand(environment: NodeJS.ProcessEnv = process.env): SandboxedCommand | undefined {
  const paths = resolvePaths(environment)
  const tree = new Store(paths.cache).path(KIND, browserKey())
  if (!existsSync(join(tree, PROGRAM))) {
    const file = HOST_NAMES.map((name) => findHostProgram(name)).find((path) => path)
    return file === undefined ? undefined : { file, args: [] }
  }
  const request = { program: `/${PROGRAM}`, args: [], cwd: '/', fakeRoot: false }
  return treeCommand(tree, hostBinds(), [paths.checkout, paths.cache, paths.state], request)
}
