/** `attestbed shell`: a guest's serial console in this terminal. */
import { UsageError } from '../base/errors.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { VtpmKind } from '../run/events.ts'
import { watchInterrupts } from './interruption.ts'
import type { ToolsFlag } from './tools-flag.ts'

interface ShellFlags extends ToolsFlag {
  readonly platform?: readonly PlatformId[]
  readonly vtpm?: VtpmKind
  readonly firmware?: string
}

/** Returns the exit code. Throws UsageError `needs-terminal`, `bad-value`, `unknown-scenario`, `unknown-image`. */
export async function shell(target: string, flags: ShellFlags): Promise<number> {
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new UsageError('a shell needs a terminal; stdin or stdout is none', {
      code: 'needs-terminal',
      hint: 'to drive a guest without one, write a scenario (scenarios/README.md)',
    })
  const [platform, ...others] = flags.platform ?? []
  if (others.length > 0)
    throw new UsageError(`a shell runs on one platform, ${others.length + 1} were given`, {
      code: 'bad-value',
    })
  if (process.env[INSIDE_PTY] === undefined) return inFront()
  const { openShell } = await import('../run/shell.ts')
  const tell = (words: string): boolean => process.stderr.write(`[attestbed] ${words}\r\n`)
  using interruption = watchInterrupts(tell)
  await openShell(target, {
    ...(platform && { platform }),
    ...(flags.vtpm && { vtpm: flags.vtpm }),
    ...(flags.firmware && { firmware: flags.firmware }),
    ...(flags.tools && { tools: flags.tools }),
    ...{ input: process.stdin, output: process.stdout, signal: interruption.signal, tell },
  })
  return interruption.exitCode ?? 0
}

/** Set for the program that the front runs on its pseudo terminal. */
export const INSIDE_PTY = 'ATTESTBED_INSIDE_PTY'

/** Runs this very command line again, on a pseudo terminal: the user's own is put back whatever becomes of it. */
export async function inFront(): Promise<number> {
  const { runOnPty } = await import('../machine/console/pty-front.ts')
  const [, ...args] = process.argv
  return runOnPty(
    { file: process.execPath, args: [...process.execArgv, ...args], environment: { [INSIDE_PTY]: '1' } },
    { input: process.stdin, output: process.stdout },
  )
}
