import type { RunEvent, RunEventSink } from '../run/events.ts'

/** A view of the event stream. It may throw: a broken view is dropped and the run goes on. */
export interface Reporter {
  readonly name: string
  event(event: RunEvent): void
  /** Called once after the last event, also when the run itself failed. */
  close?(): void
}

/** The view that owns the terminal: everything else that has words for the user says them through it. */
export interface TerminalView extends Reporter {
  /** Prints lines of our own at once, without disturbing what is redrawn. */
  announce(words: string): void
}

export interface FanOut {
  readonly sink: RunEventSink
  /** Closes every view that still works; never throws. */
  close(): void
}

/**
 * Sends every event to every reporter. One that throws is dropped and named once to `onBroken`; the others
 * and the run do not notice.
 */
export function fanOut(
  reporters: readonly Reporter[],
  onBroken: (reporter: string, error: unknown) => void,
): FanOut {
  const working = new Set(reporters)
  const guard = (reporter: Reporter, action: () => void): void => {
    try {
      action()
    } catch (error) {
      working.delete(reporter)
      onBroken(reporter.name, error)
    }
  }
  return {
    sink: (event) => {
      for (const reporter of [...working]) guard(reporter, () => reporter.event(event))
    },
    close: () => {
      for (const reporter of [...working]) guard(reporter, () => reporter.close?.())
      working.clear()
    },
  }
}
