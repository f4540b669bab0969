/** A shell for a person where the harness has driven the guest's console. */
import type { Guest } from './run.ts'

/**
 * On the terminal that the guest's commands came from: what a command has as its own standard input is none. A login shell,
 * so that its prompt is the one that was there before; it lasts until it is left, and then the console is the harness's again.
 */
const SHELL = `t=/dev/tty
{ : <"$t"; } 2>/dev/null || t=/dev/console
exec <"$t" >"$t" 2>&1
stty sane 2>/dev/null
TERM=linux
export TERM
exec sh -l`

/**
 * Resolves when it was started. Throws GuestError and TimeoutError where the guest does not answer; what `signal` says, after
 * which nothing more is typed.
 */
export function giveShell(guest: Guest, signal?: AbortSignal): Promise<void> {
  return guest.begin(['sh', '-c', SHELL], { ...(signal && { signal }) })
}
