/**
 * Native code that is shipped as source: compiled with the host's compiler, or where there is none with one of the
 * host's own release, unpacked for the purpose, so that what it makes fits the host's libc.
 */

import { execa } from 'execa'
import { withDir } from 'tmp-promise'
import { hostErrorFrom } from '../apt/apt-errors.ts'
import { DOCUMENTATION } from '../apt/extract.ts'
import { findHostProgram, hostEnvironment } from '../apt/host-program.ts'
import { readRelease } from '../apt/mirror.ts'
import { extractPackages, type PackageProgress } from '../packages.ts'
import { hostBinds, treeCommand } from '../sandbox.ts'

type Compiler = 'gcc' | 'g++'

/** Names that hosts have for each. */
const HOST_NAMES: Readonly<Record<Compiler, readonly string[]>> = {
  gcc: ['gcc', 'cc'],
  'g++': ['g++', 'c++'],
}
/** A compiler, and what `treeCommand` needs to run it. */
const PACKAGES: Readonly<Record<Compiler, readonly string[]>> = {
  gcc: ['gcc', 'libc6-dev', 'bubblewrap', 'coreutils', 'dash'],
  'g++': ['g++', 'libc6-dev', 'bubblewrap', 'coreutils', 'dash'],
}
/** For hosts other than Debian: an old libc, so that what is made loads with any newer one. */
const OLDEST_SUITE = 'bookworm'

export interface NativeCode {
  readonly compiler: Compiler
  readonly args: readonly string[]
  /** What it is for, for whoever waits for a compiler to be fetched. */
  readonly purpose: string
  /** Absolute directories that the arguments name: a compiler that had to be fetched runs in a sandbox. */
  readonly paths: readonly string[]
}

export interface CompileOptions {
  readonly environment: NodeJS.ProcessEnv
  readonly signal: AbortSignal
  readonly progress: {
    step(text: string): void
    packages(progress: PackageProgress): void
  }
}

/** Throws HostError where there is no compiler and none can be fetched, and where the source does not compile. */
export async function compileNative(code: NativeCode, options: CompileOptions): Promise<void> {
  const host = HOST_NAMES[code.compiler].map((name) => findHostProgram(name)).find((path) => path)
  if (host && (await run(host, code.args, options.signal)) === undefined) return
  await withDir(({ path }) => compileInTree(path, code, options), {
    unsafeCleanup: true,
    prefix: 'attestbed-',
  })
}

async function compileInTree(tree: string, code: NativeCode, options: CompileOptions): Promise<void> {
  const { environment, progress, signal } = options
  const { id, codename } = readRelease()
  progress.step(`fetching a compiler, for ${code.purpose}`)
  await extractPackages({
    suite: id === 'debian' && codename ? codename : OLDEST_SUITE,
    packages: PACKAGES[code.compiler],
    into: tree,
    exclude: DOCUMENTATION,
    onProgress: (step) => progress.packages(step),
    environment,
    signal,
  })
  const request = { program: code.compiler, args: code.args, cwd: '/', fakeRoot: false }
  const command = treeCommand(tree, hostBinds(), code.paths, request)
  const problem = await run(command.file, command.args, signal)
  if (problem !== undefined) throw hostErrorFrom(`compiling for ${code.purpose}`, problem)
}

/** What the compiler said when it failed, undefined when it did not. */
async function run(file: string, args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
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
