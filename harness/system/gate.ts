/**
 * The gate that a program starts behind, so that nothing of it can outlive the harness.
 *
 * A sandbox kills what is in it when its parent dies (PR_SET_PDEATHSIG), but only once it has asked for that. Its
 * outer process killed in the milliseconds before, by us or with us, would leave the inner one to run on. So inside
 * the finished sandbox a shell first says that it is ready, and becomes the program on our answer alone: of a harness
 * that is dead, or has given the program up, it reads the end of the file instead.
 */

import type { ChildProcess } from 'node:child_process'

/** Descriptor of the gate in the sandbox: `stdio[3]` must be a pipe. */
export const GATE_DESCRIPTOR = 3

const SCRIPT = 'echo ready >&3 && read -r go <&3 && [ "$go" = go ] && exec "$@" 3>&-'

/** The program and arguments that run `program` behind the gate. */
export function gated(
  program: string,
  args: readonly string[],
): { program: string; args: readonly string[] } {
  return { program: 'sh', args: ['-c', SCRIPT, 'gate', program, ...args] }
}

/**
 * Answers once the program is ready and `after` is fulfilled, unless `child` has ended or been killed by then. Where
 * `after` is rejected, the program never runs.
 */
export function openGate(child: ChildProcess, after: Promise<unknown> = Promise.resolve()): void {
  const gate = child.stdio[GATE_DESCRIPTOR]
  if (!gate || !('write' in gate) || !('on' in gate))
    throw new Error('a gated process needs a pipe as descriptor 3')
  // The program may be gone before it reads the answer; its exit says all there is to say.
  gate.on('error', () => {})
  const answer = (): void => {
    if (child.exitCode === null && child.signalCode === null && !child.killed) gate.end('go\n')
    else gate.destroy()
  }
  gate.once('data', () => void after.then(answer, () => gate.destroy()))
  child.once('exit', () => gate.destroy())
}
