/** Tools behind a sandbox command line, whichever it is. */

import { join } from 'node:path'
import type { SandboxedCommand, SandboxRequest } from './sandbox.ts'
import { gatedRun } from './tool-run.ts'
import type { RunOptions, ToolCommand, ToolResult, Tools } from './tools.ts'
import { type ToolsManifest, toolsDigest } from './tools-manifest.ts'

export interface SandboxedToolsSpec {
  readonly kind: 'tree' | 'host'
  readonly root: string
  readonly manifest: ToolsManifest
  /** PATH of the programs. */
  readonly searchPath: string
  readonly environment: NodeJS.ProcessEnv
  readonly wrap: (request: SandboxRequest) => SandboxedCommand
}

export class SandboxedTools implements Tools {
  readonly kind: 'tree' | 'host'
  readonly root: string
  readonly #spec: SandboxedToolsSpec
  readonly #environment: Readonly<Record<string, string>>
  readonly #versions: ReadonlyMap<string, string>
  #digest: string | undefined

  constructor(spec: SandboxedToolsSpec) {
    this.kind = spec.kind
    this.root = spec.root
    this.#spec = spec
    this.#environment = baseEnvironment(spec)
    this.#versions = new Map(spec.manifest.packages.map((p) => [p.name, p.version]))
  }

  get digest(): string {
    this.#digest ??= toolsDigest(this.#spec.manifest.packages)
    return this.#digest
  }

  path(relative: string): string {
    return join(this.root, relative)
  }

  version(packageName: string): string | undefined {
    return this.#versions.get(packageName)
  }

  command(program: string, args: readonly string[], options: RunOptions = {}): ToolCommand {
    const { file, args: wrapped } = this.#spec.wrap({
      program,
      args,
      cwd: options.cwd ?? process.cwd(),
      // Root needs no fake, and many containers refuse it one.
      fakeRoot: (options.fakeRoot ?? false) && process.getuid?.() !== 0,
    })
    return { file, args: wrapped, environment: { ...this.#environment, ...options.environment } }
  }

  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<ToolResult> {
    return gatedRun(this, program, args, options)
  }
}

function baseEnvironment(spec: SandboxedToolsSpec): Record<string, string> {
  const { environment } = spec
  return {
    PATH: spec.searchPath,
    HOME: environment['HOME'] ?? '/',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    TERM: 'dumb',
    ...(environment['TMPDIR'] ? { TMPDIR: environment['TMPDIR'] } : {}),
  }
}
