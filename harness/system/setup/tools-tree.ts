/** Builds the tools tree: packages unpacked, the few things done that their maintainer scripts would have done. */

import { copyFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HostError } from '../../base/errors.ts'
import { DOCUMENTATION } from '../apt/extract.ts'
import { freeBytes, megabytes } from '../disk-space.ts'
import { extractPackages } from '../packages.ts'
import { resolvePaths } from '../paths.ts'
import { Store } from '../store.ts'
import { openTree, type Tools } from '../tools.ts'
import { TOOLS_PACKAGES, TOOLS_SUITE, type ToolsManifest, toolsKey } from '../tools-manifest.ts'
import type { SetupProgress } from './progress.ts'
import { TOOL_PROGRAMS } from './tool-programs.ts'

export interface BuildOptions {
  readonly environment: NodeJS.ProcessEnv
  readonly progress: SetupProgress
  readonly signal: AbortSignal
}

/** Lists and downloads 300 MB, the tree 400 MB, and as much again for the first image. */
const NEEDED_BYTES = 1.5e9
const BYTECODE_TIMEOUT_MS = 600_000

/** Links that Debian's alternatives would make. */
const ALTERNATIVES: readonly (readonly [string, string])[] = [
  ['usr/bin/awk', 'gawk'],
  ['usr/bin/which', 'which.debianutils'],
]

/** The tree's directory, built first where there is none yet. */
export async function ensureToolsTree(options: BuildOptions): Promise<string> {
  const paths = resolvePaths(options.environment)
  const store = new Store(paths.cache, {
    onWait: () => options.progress.note('another set-up is building the tools tree: waiting for it'),
  })
  if (!store.has('tools', toolsKey())) await requireSpace(paths.cache)
  return store.ensure('tools', toolsKey(), (directory) => buildTree(directory, options))
}

async function requireSpace(cache: string): Promise<void> {
  const free = await freeBytes(cache)
  if (free >= NEEDED_BYTES) return
  throw new HostError(
    `building the tools tree needs ${megabytes(NEEDED_BYTES)} on the disk of ${cache}, ${megabytes(free)} are free`,
    { code: 'disk-full', hint: 'Free some space, or point ATTESTBED_CACHE at a larger disk' },
  )
}

async function buildTree(tree: string, options: BuildOptions): Promise<void> {
  const { progress, environment, signal } = options
  const packages = await extractPackages({
    suite: TOOLS_SUITE,
    packages: TOOLS_PACKAGES,
    into: tree,
    exclude: DOCUMENTATION,
    onProgress: (step) => progress.packages(step),
    onWait: () => progress.note('another program is downloading packages: waiting for it'),
    environment,
    signal,
  })
  const manifest: ToolsManifest = { suite: TOOLS_SUITE, date: new Date().toISOString(), packages }
  await writeFile(join(tree, 'manifest.json'), `${JSON.stringify(manifest, null, 1)}\n`)
  const tools = openTree(tree, resolvePaths(environment), environment)
  progress.step('preparing the programs')
  await finishTree(tools, signal)
  progress.step('trying every program')
  await tryPrograms(tools, signal)
}

async function finishTree(tools: Tools, signal: AbortSignal): Promise<void> {
  for (const [link, target] of ALTERNATIVES) await symlink(target, tools.path(link))
  for (const name of ['passwd', 'group']) {
    await copyFile(tools.path(`usr/share/base-passwd/${name}.master`), tools.path(`etc/${name}`))
  }
  // Nothing here runs with more rights than its user has.
  await tools.run('find', [tools.root, '-perm', '/6000', '-exec', 'chmod', 'ug-s', '{}', '+'], { signal })
  // Without its bytecode ukify takes a second to start, every time: the tree is read-only when it runs.
  const sources = [tools.path('usr/lib/python3')]
  const python = (await tools.run('readlink', ['/usr/bin/python3'], { signal })).stdout
    .toString('utf8')
    .trim()
  sources.push(tools.path(`usr/lib/${python}`))
  await tools.run('python3', ['-m', 'compileall', '-q', '-j', '2', '-s', tools.root, '-p', '/', ...sources], {
    signal,
    timeoutMs: BYTECODE_TIMEOUT_MS,
  })
}

/** Throws HostError 'setup-failed' that names every program that does not run, each with its reason. */
async function tryPrograms(tools: Tools, signal: AbortSignal): Promise<void> {
  const failures: string[] = []
  for (const { program, versionArgs } of TOOL_PROGRAMS) {
    try {
      await tools.run(program, versionArgs, { signal })
    } catch (error) {
      if (error instanceof HostError || signal.aborted) throw error
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  if (failures.length === 0) return
  throw new HostError(`${failures.length} programs of the tools tree do not run:\n${failures.join('\n')}`, {
    code: 'setup-failed',
    hint: 'Run scripts/setup again; if it fails again, report these lines',
  })
}
