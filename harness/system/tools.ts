/** The programs that the harness runs: from the tools tree that `scripts/setup` makes, or the host's own. */

import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { HostError } from '../base/errors.ts'
import { errorCode } from './files.ts'
import { type Paths, resolvePaths } from './paths.ts'
import { hostBinds, hostCommand, treeCommand } from './sandbox.ts'
import { SandboxedTools } from './sandboxed-tools.ts'
import { readManifest, type ToolsManifest, toolsKey } from './tools-manifest.ts'

export interface RunOptions {
  /** Absolute; the default is the harness's own. */
  readonly cwd?: string
  /** Added to a small fixed environment; nothing else of the harness's reaches the program. */
  readonly environment?: Readonly<Record<string, string>>
  readonly input?: Uint8Array | string
  /** Default 120 000. */
  readonly timeoutMs?: number
  /** uid 0 in a user namespace, so that `mkfs -d` and `cpio` record root as the owner of our files. */
  readonly fakeRoot?: boolean
  readonly signal?: AbortSignal
}

export interface ToolCommand {
  readonly file: string
  readonly args: readonly string[]
  /** The complete environment: spawn with this and nothing else. */
  readonly environment: Readonly<Record<string, string>>
}

export interface ToolResult {
  readonly stdout: Buffer
  readonly stderr: string
}

export interface Tools {
  readonly kind: 'tree' | 'host'
  /** Host path of the tree; '/' for the host's own programs. */
  readonly root: string
  /** Identifies the versions of all tools: 64 hex digits. */
  readonly digest: string
  /** The QEMU that runs in place of the tools' own, where another one was asked for. */
  readonly qemu?: OtherQemu
  /** `path('usr/share/OVMF/OVMF_CODE_4M.fd')`: a path valid on the host and inside the sandbox. */
  path(relative: string): string
  /** Version of a Debian package of the tree (host: of the programs it corresponds to); undefined if unknown. */
  version(packageName: string): string | undefined
  /** The real command that runs `program` in its own PID namespace, dying with its parent. */
  command(
    program: string,
    args: readonly string[],
    options?: Pick<RunOptions, 'cwd' | 'environment' | 'fakeRoot'>,
  ): ToolCommand
  /**
   * Runs a program to its end. Throws MaterialError 'build-failed' on a non-zero exit, a signal or a timeout (with
   * the last lines of stderr), HostError 'no-user-namespaces' where the host forbids the sandbox.
   */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<ToolResult>
}

export interface OtherQemu {
  /** Absolute path. */
  readonly file: string
  /** Of the file; hex. */
  readonly sha256: string
}

export interface OpenToolsOptions {
  /** Default: process.env. */
  readonly environment?: NodeJS.ProcessEnv
}

/** What set-up was last told, in `<cache>/tools/choice.json`; `host` holds what it found there. */
export interface ToolsChoice {
  readonly kind: 'tree' | 'host'
  readonly host?: { readonly manifest: ToolsManifest; readonly bubblewrap?: string }
}

/**
 * Opens the tools that set-up made; a few milliseconds. $ATTESTBED_TOOLS overrides what set-up was told: `tree`,
 * `host`, or the absolute path of a tree. Throws HostError 'setup-missing'.
 */
export async function openTools(options: OpenToolsOptions = {}): Promise<Tools> {
  const environment = options.environment ?? process.env
  const paths = resolvePaths(environment)
  const remembered = readChoice(paths.cache)
  const choice = environment['ATTESTBED_TOOLS'] || remembered?.kind || 'tree'
  if (choice === 'host') return openHost(remembered, environment)
  if (choice === 'tree') return openTree(join(paths.cache, 'tools', toolsKey()), paths, environment)
  if (isAbsolute(choice)) return openTree(choice, paths, environment)
  throw setupMissing(
    `ATTESTBED_TOOLS is '${choice}', it must be 'tree', 'host' or the absolute path of a tree`,
  )
}

export function choiceFile(cache: string): string {
  return join(cache, 'tools', 'choice.json')
}

/** Throws HostError 'setup-missing' when there is no complete tree at `tree`. */
export function openTree(tree: string, paths: Paths, environment: NodeJS.ProcessEnv): Tools {
  const binds = hostBinds()
  const extraPaths = [
    paths.checkout,
    paths.cache,
    paths.state,
    paths.sockets,
    environment['TMPDIR'] || tmpdir(),
  ]
  return new SandboxedTools({
    kind: 'tree',
    root: tree,
    manifest: loadManifest(tree),
    searchPath: '/usr/sbin:/usr/bin',
    environment,
    wrap: (request) => treeCommand(tree, binds, extraPaths, request),
  })
}

function openHost(choice: ToolsChoice | undefined, environment: NodeJS.ProcessEnv): Tools {
  const host = choice?.host
  if (!host) throw setupMissing("the host's own programs have not been checked", 'scripts/setup --tools=host')
  const root = process.getuid?.() === 0
  return new SandboxedTools({
    kind: 'host',
    root: '/',
    manifest: host.manifest,
    searchPath: `${environment['PATH'] ?? '/usr/bin'}:/usr/sbin:/sbin`,
    environment,
    wrap: (request) => hostCommand(host.bubblewrap, root, request),
  })
}

export function readChoice(cache: string): ToolsChoice | undefined {
  try {
    return JSON.parse(readFileSync(choiceFile(cache), 'utf8')) as ToolsChoice
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw setupMissing(`cannot read ${choiceFile(cache)}`, 'scripts/setup', error)
  }
}

function loadManifest(tree: string): ToolsManifest {
  try {
    return readManifest(tree)
  } catch (error) {
    throw setupMissing(`there is no tools tree at ${tree}`, 'scripts/setup', error)
  }
}

function setupMissing(reason: string, command = 'scripts/setup', cause?: unknown): HostError {
  return new HostError(`cannot open the tools: ${reason}`, {
    code: 'setup-missing',
    hint: `Run ${command}`,
    cause,
  })
}
