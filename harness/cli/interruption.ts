/** Ctrl-C and its relatives: the first stops the run in order, the second leaves at once. */

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const
type InterruptSignal = keyof typeof EXIT_CODES
const SIGNALS = Object.keys(EXIT_CODES) as InterruptSignal[]

export interface Interruption extends Disposable {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Exit code that the signal leads to; undefined when none came. */
  readonly exitCode: number | undefined
}

/** For what has no VM to stop: a signal ends the command at once, and what it began to write is removed. */
export function exitOnSignals(): Disposable {
  const onSignal = (name: NodeJS.Signals): void => process.exit(EXIT_CODES[name as InterruptSignal])
  for (const name of SIGNALS) process.on(name, onSignal)
  return {
    [Symbol.dispose]: () => {
      for (const name of SIGNALS) process.removeListener(name, onSignal)
    },
  }
}

/** Watches the signals until disposed. `announce` is called once, at the first of them. */
export function watchInterrupts(announce: (words: string) => void): Interruption {
  const controller = new AbortController()
  let exitCode: number | undefined
  const onSignal = (name: NodeJS.Signals): void => {
    const code = EXIT_CODES[name as InterruptSignal]
    // Exit handlers give the terminal back; VMs die with their parent.
    if (exitCode !== undefined) process.exit(code)
    exitCode = code
    announce(`interrupted (${name}): stopping the VMs; once more to leave at once`)
    controller.abort(new Error('interrupted'))
  }
  for (const name of SIGNALS) process.on(name, onSignal)
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode
    },
    [Symbol.dispose]: () => {
      for (const name of SIGNALS) process.removeListener(name, onSignal)
    },
  }
}
