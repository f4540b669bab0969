/** What a person reads when a command fails, and its exit code. */
import { inspect } from 'node:util'
import { AttestbedError, exitCodeOf, GuestError, HostError, TimeoutError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'

export interface Failure {
  readonly text: string
  readonly exitCode: number
}

/**
 * One message and a hint for what we foresaw. A stack only for what we did not (our own bug), or where
 * ATTESTBED_DEBUG asks for it.
 */
export function describeFailure(thrown: unknown, environment: NodeJS.ProcessEnv = process.env): Failure {
  const error = foreseen(thrown)
  const lines =
    error instanceof AttestbedError
      ? [...foreseenLines(error), ...(environment['ATTESTBED_DEBUG'] ? stackLines(thrown) : [])]
      : bugLines(error)
  return { text: `${lines.join('\n')}\n`, exitCode: exitCodeOf(error) }
}

/** A full disk shows up wherever something is written, and is nobody's bug. */
function foreseen(thrown: unknown): unknown {
  const isDiskFull = thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOSPC'
  if (!isDiskFull) return thrown
  return new HostError(`the disk is full: ${thrown.message}`, {
    code: 'disk-full',
    cause: thrown,
    hint: 'free some space; attestbed doctor shows which directories are used and how full they are',
  })
}

function foreseenLines(error: AttestbedError): readonly string[] {
  const [first = '', ...rest] = safeLines(error.message)
  const console = error instanceof GuestError || error instanceof TimeoutError ? error.consoleTail : undefined
  return [
    `attestbed: ${error.name} [${error.code}]: ${first}`,
    ...rest.map((line) => `  ${line}`),
    ...(error.hint === undefined ? [] : safeLines(`hint: ${error.hint}`)),
    ...(console ? ['last console lines:', ...safeLines(console).map((line) => `  | ${line}`)] : []),
  ]
}

function bugLines(error: unknown): readonly string[] {
  return [
    'attestbed: this is a bug in attestbed, not in what it tests',
    ...stackLines(error),
    'Please report it, with the command line, the text above and the output of `attestbed doctor`.',
  ]
}

function stackLines(error: unknown): readonly string[] {
  const text = error instanceof Error ? inspect(error, { depth: 3 }) : `thrown: ${inspect(error)}`
  return safeLines(text).map((line) => `  ${line}`)
}

function safeLines(text: string): readonly string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => escapeControls(line))
}
