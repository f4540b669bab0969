/** `attestbed report`: any view of a run, made later from what is stored. */
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { htmlFile } from '../report/html/file.ts'
import { type ReportKind, replay, streamReporter } from '../report/kinds.ts'
import { type RunRecord, readRun } from '../report/record/run-record.ts'
import { writeReport } from '../report/report-file.ts'
import { REPORT_FILE } from '../report/run-files.ts'
import { diskFullOr } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { forPeople } from './output.ts'

export interface ReportFlags {
  readonly format: ReportKind
  readonly output?: string
  readonly compare?: string
}

/** Returns the exit code. Throws UsageError for what is no run, FormatError for one of another version. */
export async function report(paths: readonly string[], flags: ReportFlags): Promise<number> {
  const { format, output, compare } = flags
  if (compare !== undefined && format !== 'html')
    throw new UsageError(`--compare is for --format html; ${format} says how one run went`, {
      code: 'bad-value',
    })
  const runs: RunRecord[] = []
  for (const path of paths) runs.push(await readRun(path))
  for (const problem of runs.flatMap(({ problems }) => problems))
    forPeople(process.stderr).write(`attestbed: ${problem}\n`)
  if (format !== 'html') {
    const parts: string[] = []
    replay(
      together(runs),
      streamReporter(format, (text) => parts.push(text)),
    )
    if (output === undefined) process.stdout.write(parts.join(''))
    else write(output, parts.join(''))
    return 0
  }
  const before = compare === undefined ? undefined : await readRun(compare)
  const file = output ?? join(runs[0]?.directory ?? '.', REPORT_FILE)
  const text = await htmlFile({ runs, cache: resolvePaths().cache, ...(before && { before }) })
  write(file, text)
  process.stdout.write(`${file}\n`)
  return 0
}

function write(file: string, text: string): void {
  try {
    writeReport(file, text)
  } catch (error) {
    throw diskFullOr(error, `writing the report ${file}`)
  }
}

/** Shards of one run, say. */
function together(runs: readonly RunRecord[]): RunRecord {
  const [first] = runs
  if (!first || runs.length === 1) return first as RunRecord
  const expired = runs.flatMap(({ result }) => result.expired ?? [])
  return {
    ...first,
    notes: runs.flatMap(({ notes }) => notes),
    ended: runs.every(({ ended }) => ended),
    result: {
      results: runs.flatMap(({ result }) => result.results),
      ...(expired.length > 0 && { expired }),
    },
  }
}
