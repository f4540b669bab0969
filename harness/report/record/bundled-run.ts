/** A run out of a bundle: what a stranger wrote of paths names files of whoever reads it, so none of them is opened. */
import { join } from 'node:path'
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { EVENTS_FILE } from '../run-files.ts'
import { type RunRecord, readRun } from './run-record.ts'

/** Where `attestbed bundle` puts the one scenario that a bundle is about. */
const RUN_FOLDER = 'run'

/**
 * `unpacked`: what was in the file `bundle`. Throws what `readRun` throws, and FormatError `bad-value` for the stream of a
 * whole run: its scenarios would lie in other directories than the one that was unpacked.
 */
export async function readBundledRun(unpacked: string, bundle: string): Promise<RunRecord> {
  const run = await readRun(join(unpacked, RUN_FOLDER))
  const { length } = run.result.results
  if (!run.isPoint || length > 1) {
    const what = run.isPoint ? `${length} scenarios` : 'a whole run'
    throw new FormatError(
      `cannot read the bundle ${escapeControls(bundle)}: its ${RUN_FOLDER}/${EVENTS_FILE} is of ${what}, a bundle is about one scenario`,
      { code: 'bad-value', field: 'run', offset: 0 },
    )
  }
  return { ...run, bundle }
}
