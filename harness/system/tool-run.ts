/** Runs a program of the tools to its end, behind the gate, and says what went wrong. */

import { HostError, MaterialError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { gated } from './gate.ts'
import { allowNamespacesCommand } from './namespaces.ts'
import { type FinishedRun, runToEnd } from './run-to-end.ts'
import type { RunOptions, ToolResult, Tools } from './tools.ts'

const DEFAULT_TIMEOUT_MS = 120_000
const ERROR_LINES = 12
const ERROR_LINE_LENGTH = 400

/** As `Tools.run`, whichever way the tools make a command of it. */
export async function gatedRun(
  tools: Pick<Tools, 'command'>,
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<ToolResult> {
  const inner = gated(program, args)
  const command = tools.command(inner.program, inner.args, options)
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const { input, signal } = options
  const result = await runToEnd(command, { input, timeoutMs, signal })
  const stderr = result.stderr.toString('utf8')
  if (result.exitCode === 0) return { stdout: result.stdout, stderr }
  if (signal?.aborted) throw signal.reason
  throw runFailed(program, args, result, stderr, timeoutMs)
}

function runFailed(
  program: string,
  args: readonly string[],
  result: FinishedRun,
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
