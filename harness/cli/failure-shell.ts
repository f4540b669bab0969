/** The console of a guest whose scenario has just failed. */
import { escapeControls } from '../base/text.ts'
import { attach } from '../machine/console/attach.ts'
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
    // A guest that hangs has none to give; its console is what there is to look at.
    await last.giveShell?.().catch((reason: unknown) => {
      say(`the guest gives no shell, this is its console as it is: ${escapeControls(wordsOf(reason))}`)
    })
    const interrupted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    const shellPrompt = new RegExp(image.login.shellPrompt)
    const attached = attach(machine.console, { input: process.stdin, output: process.stdout, shellPrompt })
    await Promise.race([attached, interrupted])
    say('left the console; the VM is stopped')
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
