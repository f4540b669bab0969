import type { IPty } from 'node-pty'
import { HostError } from '../../base/errors.ts'
import { rawTerminal, type TerminalInput, type TerminalOutput } from './attach.ts'

/**
 * Runs a program on a pseudo terminal of its own and bridges it to the user's terminal.
 *
 * `attestbed shell` runs itself so: the program that boots the guest and hands over its console (attach.ts) sees an
 * ordinary terminal that follows the window's size, while the user's real terminal belongs to this small front. So it
 * is put back in order however the program ends, by SIGKILL even.
 */

export interface FrontCommand {
  readonly file: string
  readonly args: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export interface FrontTerminal {
  readonly input: TerminalInput
  readonly output: TerminalOutput
}

const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const
const SIGNAL_EXIT = 128

async function loadPty(): Promise<typeof import('node-pty')> {
  try {
    return await import('node-pty')
  } catch (cause) {
    throw new HostError('cannot load node-pty, which the interactive console needs', {
      code: 'setup-missing',
      hint: 'It is compiled when it is installed: install make, g++ and python3, then run `npm rebuild node-pty`.',
      cause,
    })
  }
}

function size(output: TerminalOutput): { readonly cols: number; readonly rows: number } {
  // A terminal that does not know its size says 0.
  return { cols: output.columns || 80, rows: output.rows || 24 }
}

/** node-pty's kill() takes any pid, and -1 would be every process there is. */
function forward(child: IPty, signal: NodeJS.Signals): void {
  if (child.pid <= 1) return
  try {
    process.kill(child.pid, signal)
  } catch {
    // It has ended.
  }
}

/**
 * Resolves with the program's exit code, 128 + n where signal n ended it. SIGTERM, SIGHUP and SIGINT are passed on to
 * it. HostError 'setup-missing' where node-pty was never compiled.
 */
export async function runOnPty(command: FrontCommand, terminal: FrontTerminal): Promise<number> {
  const pty = await loadPty()
  const { input, output } = terminal
  const restore = rawTerminal(input)
  const cleanup: (() => void)[] = [restore]
  try {
    const child = pty.spawn(command.file, [...command.args], {
      ...size(output),
      // Bytes as they are: the guest's output need not be UTF-8.
      encoding: null,
      name: process.env['TERM'] ?? 'xterm',
      env: { ...process.env, ...command.environment },
    })
    const ended = new Promise<number>((resolve) => {
      child.onExit(({ exitCode, signal }) => resolve(signal ? SIGNAL_EXIT + signal : exitCode))
    })
    bridge(child, terminal, cleanup)
    return await ended
  } finally {
    for (const undo of cleanup.reverse()) undo()
  }
}

function bridge(child: IPty, { input, output }: FrontTerminal, cleanup: (() => void)[]): void {
  const onData = (bytes: Buffer): void => child.write(bytes)
  const onResize = (): void => {
    const { cols, rows } = size(output)
    child.resize(cols, rows)
  }
  child.onData((data) => output.write(data as string | Uint8Array))
  input.on('data', onData)
  output.on('resize', onResize)
  input.resume()
  cleanup.push(() => {
    input.off('data', onData)
    output.off('resize', onResize)
    input.pause()
  })
  for (const signal of FORWARDED) {
    const onSignal = (): void => forward(child, signal)
    process.on(signal, onSignal)
    cleanup.push(() => process.off(signal, onSignal))
  }
}
