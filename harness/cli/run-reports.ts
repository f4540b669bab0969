/** The reports that `attestbed run` writes beside its table: none of them decides how the run went. */
import { join } from 'node:path'
import { fileReporter, streamReporter } from '../report/kinds.ts'
import type { Reporter } from '../report/reporter.ts'
import type { WantedReport } from './report-flags.ts'

/** A view of the events as they come; the HTML page is made when all is over. */
export function reporterOf({ kind, file }: WantedReport): readonly Reporter[] {
  if (kind === 'html') return []
  if (file !== undefined) return [fileReporter(kind, file)]
  return [streamReporter(kind, (text) => process.stdout.write(text))]
}

interface Told {
  /** Of the run; empty where it has none. */
  readonly directory: string
  readonly human: NodeJS.WritableStream
}

/** Writes the page into the run's directory, and where else it is wanted, and says where it is. Never rejects. */
export async function tellPages(wanted: readonly WantedReport[], { directory, human }: Told): Promise<void> {
  if (directory === '') return
  const files = wanted.flatMap(({ kind, file }) => (kind === 'html' && file !== undefined ? [file] : []))
  try {
    const [{ htmlFile }, { readRun }, { writeReport }, { REPORT_FILE }, { resolvePaths }] = await Promise.all(
      [
        import('../report/html/file.ts'),
        import('../report/record/run-record.ts'),
        import('../report/report-file.ts'),
        import('../report/run-files.ts'),
        import('../system/paths.ts'),
      ],
    )
    const text = await htmlFile({ runs: [await readRun(directory)], cache: resolvePaths().cache })
    for (const file of [join(directory, REPORT_FILE), ...files]) {
      try {
        writeReport(file, text)
        human.write(`Report: ${file}\n`)
      } catch (error) {
        warn(`report ${file}`, error)
      }
    }
  } catch (error) {
    warn('HTML report', error)
  }
}

function warn(what: string, error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error)
  process.stderr.write(`attestbed: cannot write the ${what}, the run is not affected: ${reason}\n`)
}
