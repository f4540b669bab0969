/** `attestbed report`: any view of a run, made later from what is stored. */
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { htmlFile } from '../report/html/file.ts'
import { type ReportKind, replay, streamReporter } from '../report/kinds.ts'
import { readBundledRun } from '../report/record/bundled-run.ts'
import { type RunRecord, readRun } from '../report/record/run-record.ts'
import { writeReport } from '../report/report-file.ts'
import { REPORT_FILE } from '../report/run-files.ts'
import { diskFullOr } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { Scope } from '../system/scope.ts'
import { exitOnSignals } from './interruption.ts'
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
  using _ = exitOnSignals()
  await using scope = new Scope('report')
  const runs: RunRecord[] = []
  for (const path of paths) runs.push(await openRun(scope, path))
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
  const before = compare === undefined ? undefined : await openRun(scope, compare)
  const [first] = runs
  const file = output ?? (first?.bundle ? `${first.bundle}.html` : join(first?.directory ?? '.', REPORT_FILE))
  const text = await htmlFile({ runs, cache: resolvePaths().cache, ...(before && { before }) })
  write(file, text)
  process.stdout.write(`${file}\n`)
  return 0
}

/** zstd, RFC 8878, 3.1.1; little-endian. */
const ZSTD_MAGIC = 0xfd2fb528

async function openRun(scope: Scope, path: string): Promise<RunRecord> {
  if (!(await isBundle(path))) return readRun(path)
  const { openBundle } = await import('../bundle/read.ts')
  const { directory } = await openBundle(scope, path)
  return readBundledRun(directory, path)
}

async function isBundle(path: string): Promise<boolean> {
  // What is a directory, or is not there, is for whoever reads runs to say.
  if (!(await stat(path).catch(() => undefined))?.isFile()) return false
  await using handle = await open(path)
  const head = Buffer.alloc(4)
  const { bytesRead } = await handle.read(head, 0, 4, 0)
  return bytesRead === 4 && head.readUInt32LE() === ZSTD_MAGIC
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
