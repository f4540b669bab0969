/** The HTML report of runs, with its script: what a command needs in one call. */
import type { RunRecord } from '../record/run-record.ts'
import { clientBundle } from './client-bundle.ts'
import { htmlReport } from './page.ts'

/** `cache`: a directory of our own, for the bundled script. */
export async function htmlFile(options: {
  readonly runs: readonly RunRecord[]
  readonly before?: RunRecord
  readonly cache: string
}): Promise<string> {
  const { cache, ...report } = options
  return htmlReport({ ...report, client: await clientBundle(cache) })
}
