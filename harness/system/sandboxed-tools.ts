/** Tools behind a sandbox command line, whichever it is. */

import { join } from 'node:path'
import { execa } from 'execa'
import { HostError, MaterialError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { gated, openGate } from './gate.ts'
import { allowNamespacesCommand } from './namespaces.ts'
import type { SandboxedCommand, SandboxRequest } from './sandbox.ts'
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

const DEFAULT_TIMEOUT_MS = 120_000
const ERROR_LINES = 12
const ERROR_LINE_LENGTH = 400

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

  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<ToolResult> {
    const inner = gated(program, args)
    const command = this.command(inner.program, inner.args, options)
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const child = execa(command.file, command.args, {
      env: command.environment,
      extendEnv: false,
      encoding: 'buffer',
      stripFinalNewline: false,
      reject: false,
      // SIGTERM would end the sandbox no more gently: what is inside is killed with it.
      killSignal: 'SIGKILL',
      timeout: timeoutMs,
      // Ctrl-C is the harness's to handle: it aborts `signal` and cleans up.
      detached: true,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'pipe'],
      buffer: { fd3: false },
      ...(options.input === undefined ? {} : { input: options.input }),
      ...(options.signal ? { cancelSignal: options.signal } : {}),
    })
    openGate(child.nodeChildProcess)
    const result = await child
    const stderr = Buffer.from(result.stderr).toString('utf8')
    if (!result.failed) return { stdout: Buffer.from(result.stdout), stderr }
    if (options.signal?.aborted) throw options.signal.reason
    throw runFailed(program, args, result, stderr, timeoutMs)
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

interface FailedResult {
  readonly exitCode?: number | undefined
  readonly signal?: string | undefined
  readonly timedOut: boolean
  readonly cause?: unknown
}

function runFailed(
  program: string,
  args: readonly string[],
  result: FailedResult,
  stderr: string,
  timeoutMs: number,
): Error {
  const refusal = sandboxRefusal(stderr)
  if (refusal) return refusal
  const command = [program, ...args].map((word) => escapeControls(word)).join(' ')
  const end = result.timedOut
    ? `did not end within ${timeoutMs} ms`
    : result.exitCode === undefined
      ? `could not run (${result.signal ?? String(result.cause)})`
      : `ended with exit code ${result.exitCode}, 0 is required`
  const tail = lastLines(stderr)
  return new MaterialError(`${command}: ${end}${tail ? `\n${tail}` : ''}`, {
    code: 'build-failed',
    cause: result.cause,
  })
}

/** Safe to print: each line escaped and cut. */
function lastLines(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines
    .slice(-ERROR_LINES)
    .map((line) => `  ${escapeControls(line.slice(0, ERROR_LINE_LENGTH))}`)
    .join('\n')
}

const REFUSAL =
  /^(unshare: |bwrap: (No permissions to creat|Creating new namespace failed|setting up uid map|Can't mount proc))/

/** What bwrap and unshare say when the kernel's settings forbid user namespaces; undefined for other errors. */
export function sandboxRefusal(stderr: string): HostError | undefined {
  const line = stderr.split('\n').find((text) => REFUSAL.test(text))
  if (!line) return undefined
  return new HostError(
    `cannot start the sandbox: ${escapeControls(line)}: this host forbids user namespaces`,
    {
      code: 'no-user-namespaces',
      hint: `Allow them, as root: ${allowNamespacesCommand()}`,
    },
  )
}
