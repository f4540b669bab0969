/**
 * A run out of a bundle. What a stranger wrote of paths names files of whoever reads it, so none of them is opened; nor is
 * one shown: they lie on another host, and what was unpacked is gone when the report is read.
 */
import { basename, dirname, join } from 'node:path'
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import type { ScenarioResult } from '../../run/events.ts'
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
  const bundled = { ...run, bundle }
  return {
    ...bundled,
    problems: inBundle(bundled, run.problems),
    result: { ...run.result, results: run.result.results.map((result) => placedIn(bundle, result)) },
  }
}

/** Sentences of a run with the bundle's file in place of where that was unpacked. */
export function inBundle(
  { directory, bundle }: Pick<RunRecord, 'directory' | 'bundle'>,
  sentences: readonly string[],
): readonly string[] {
  if (bundle === undefined) return sentences
  const shown = escapeControls(bundle)
  return sentences.map((sentence) => sentence.replaceAll(dirname(directory), () => shown))
}

/** An attempt that broke is not in the bundle: the name of its directory is all that means something here. */
function placedIn(bundle: string, result: ScenarioResult): ScenarioResult {
  const { dir, broken } = result
  return {
    ...result,
    dir: dir === '' ? '' : bundle,
    ...(broken && { broken: broken.map((attempt) => ({ ...attempt, dir: basename(attempt.dir) })) }),
  }
}
