/** The console of a guest whose scenario has just failed. */
import { escapeControls } from '../base/text.ts'
import { attach } from '../machine/console/attach.ts'
import type { VmEnd } from '../run/lab-spec.ts'
import type { RunRequest } from '../run/program.ts'
import type { Say } from './repro-parts.ts'

type OnFailure = NonNullable<RunRequest['onFailure']>

/** Hands over the console of the last VM that still runs; the scenario ends when somebody leaves it. */
export function shellAtFailure(say: Say, signal: AbortSignal): OnFailure {
  return async ({ error, machines, image }) => {
    say(`stopped: ${escapeControls(wordsOf(error))}`)
    const last = machines.findLast((each) => each.machine && !each.machine.end)
    const machine = last?.machine
    if (last === undefined || machine === undefined) {
      say('no VM runs any more, so there is no console to look at')
      return
    }
    await orConsole(last.giveShell, { say, signal })
    if (signal.aborted) return
    const interrupted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    const shellPrompt = new RegExp(image.login.shellPrompt)
    const attached = attach(machine.console, { input: process.stdin, output: process.stdout, shellPrompt })
    await Promise.race([attached, interrupted])
    say('left the console; the VM is stopped')
  }
}

/** Longer than a guest that answers takes, and short for somebody who sees nothing happen. */
const SHELL_MS = 5000

/**
 * A guest that hangs has no shell to give, nor has one in which the command that failed still runs: its console is what
 * there is to look at. Resolves within `deadlineMs`, and as soon as `signal` says; then nothing more is typed.
 */
export async function orConsole(
  giveShell: VmEnd['giveShell'],
  { say, signal, deadlineMs = SHELL_MS }: ConsoleTerms,
): Promise<void> {
  const ending = new AbortController()
  const late = new Error(`it has not come within ${deadlineMs / 1000} s`)
  const timer = setTimeout(() => ending.abort(late), deadlineMs)
  const ends = AbortSignal.any([signal, ending.signal])
  const ended = new Promise<never>((_, reject) => {
    ends.addEventListener('abort', () => reject(ends.reason), { once: true })
    if (ends.aborted) reject(ends.reason)
  })
  try {
    await Promise.race([ended, giveShell?.(ends)])
  } catch (reason) {
    if (signal.aborted) return
    say(`the guest gives no shell, this is its console as it is: ${escapeControls(wordsOf(reason))}`)
  } finally {
    clearTimeout(timer)
  }
}

interface ConsoleTerms {
  readonly say: Say
  readonly signal: AbortSignal
  readonly deadlineMs?: number
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
