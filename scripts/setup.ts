/** Second part of scripts/setup, run by the pinned Node once node_modules is there. */

import { AttestbedError, exitCodeOf, UsageError } from '../harness/base/errors.ts'
import { SetupProgress } from '../harness/system/setup/progress.ts'
import { setUp } from '../harness/system/setup/set-up.ts'

const INTERRUPTED_EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

const interruption = new AbortController()
for (const [signal, exitCode] of Object.entries(INTERRUPTED_EXIT_CODES)) {
  process.once(signal, () => {
    process.exitCode = exitCode
    interruption.abort(new Error(`interrupted by ${signal}`))
  })
}

const progress = new SetupProgress(process.stderr)
try {
  await setUp({
    ...parseArguments(process.argv.slice(2)),
    environment: process.env,
    progress,
    signal: interruption.signal,
  })
} catch (error) {
  if (interruption.signal.aborted) {
    progress.note('interrupted; run scripts/setup again to continue')
  } else {
    report(error)
    process.exitCode = exitCodeOf(error)
  }
}

function parseArguments(args: readonly string[]): { tools?: 'tree' | 'host'; browser?: boolean } {
  let tools: 'tree' | 'host' | undefined
  let browser = false
  for (const arg of args) {
    if (arg === '--tools=tree') tools = 'tree'
    else if (arg === '--tools=host') tools = 'host'
    else if (arg === '--with=browser') browser = true
    else
      throw new UsageError(`unknown argument '${arg}'`, {
        code: 'unknown-flag',
        hint: 'See scripts/setup --help',
      })
  }
  return { ...(tools && { tools }), browser }
}

function report(error: unknown): void {
  if (!(error instanceof AttestbedError)) {
    progress.note(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return
  }
  progress.note(`${error.name} [${error.code}]: ${error.message}`)
  if (error.hint) progress.note(`hint: ${error.hint}`)
}
