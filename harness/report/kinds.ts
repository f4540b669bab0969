/** The reports there are, beside the terminal's own views and the run directory's files. */
import { rmSync, statSync } from 'node:fs'
import { jsonText } from '../base/text.ts'
import type { RunEvent } from '../run/events.ts'
import { GithubReporter } from './github.ts'
import { JunitReporter } from './junit.ts'
import type { RunRecord } from './record/run-record.ts'
import { writeReport } from './report-file.ts'
import type { Reporter } from './reporter.ts'
import { TapReporter } from './tap-stream.ts'

export const REPORT_KINDS = ['html', 'junit', 'tap', 'github', 'json'] as const
export type ReportKind = (typeof REPORT_KINDS)[number]
/** Those that are made of events as they come. */
export type StreamKind = Exclude<ReportKind, 'html'>

type Write = (text: string) => void

const VIEWS: Readonly<Record<StreamKind, (write: Write) => Reporter>> = {
  junit: (write) => new JunitReporter(write),
  tap: (write) => new TapReporter(write),
  github: (write) => new GithubReporter(write),
  json: (write) => ({
    name: 'JSON report',
    event: (event) => {
      if (event.type === 'run-ended') write(`${jsonText(event.result, 2)}\n`)
    },
  }),
}

export function streamReporter(kind: StreamKind, write: Write): Reporter {
  return VIEWS[kind](write)
}

/** A view whose text is kept until the run is over, and then takes the place of `file` as a whole. */
export function fileReporter(kind: StreamKind, file: string): Reporter {
  const parts: string[] = []
  const view = streamReporter(kind, (text) => parts.push(text))
  return {
    name: `${view.name} ${file}`,
    event: (event) => orNone(file, () => view.event(event)),
    close: () =>
      orNone(file, () => {
        view.close?.()
        writeReport(file, parts.join(''))
      }),
  }
}

/** Where a report cannot be made, that of an earlier run must not be taken for it. */
function orNone(file: string, action: () => void): void {
  try {
    action()
  } catch (error) {
    if (statSync(file, { throwIfNoEntry: false })?.isFile()) rmSync(file, { force: true })
    throw error
  }
}

/** The events of a finished run that such a view is made of. */
export function replay({ result, startedAt, endedAt, notes, ended }: RunRecord, view: Reporter): void {
  const events: readonly RunEvent[] = [
    ...notes.map((text): RunEvent => ({ type: 'run-note', at: startedAt, text })),
    ...result.results.map(
      (each, index): RunEvent => ({ type: 'scenario-ended', at: endedAt, key: String(index), result: each }),
    ),
    // The others show what there is of a run that was cut short; this one says that it was.
    ...(ended || !(view instanceof JunitReporter)
      ? [{ type: 'run-ended' as const, at: endedAt, result }]
      : []),
  ]
  for (const event of events) view.event(event)
  view.close?.()
}
