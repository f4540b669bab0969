/** `attestbed doctor`: what this host can run, fact by fact. */
import { diagnoseHost } from '../platforms/diagnose.ts'
import { renderHostReport } from '../report/host-report.ts'
import { resolvePaths } from '../system/paths.ts'
import { widthOf, writeDocument } from './output.ts'
import { chosenTools, type ToolsFlag } from './tools-flag.ts'

const NOTHING_USABLE = 3

interface DoctorFlags extends ToolsFlag {
  readonly json?: boolean
  readonly fresh?: boolean
}

/** Returns 0 where a platform is usable, 3 where none is. Speaks without a set-up, too. */
export async function doctor(flags: DoctorFlags): Promise<number> {
  const tools = await chosenTools(flags).catch(asError)
  const { report } = await diagnoseHost({ paths: resolvePaths(), tools, fresh: flags.fresh ?? false })
  if (flags.json) writeDocument(report)
  else process.stdout.write(`${renderHostReport(report, { width: widthOf(process.stdout) })}\n`)
  return Object.values(report.platforms).some(({ usable }) => usable) ? 0 : NOTHING_USABLE
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
