/**
 * The bundle of a Debian run: how large, how long. The run passes and is kept, which leaves what a failed one leaves: its
 * disk, variable store, vTPM state and transcripts. Then as often as wanted: made, and opened as a stranger's.
 */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { findPoint } from '../../harness/bundle/find-run.ts'
import { makeBundle, USUAL_MOST_BYTES } from '../../harness/bundle/make.ts'
import { openBundle } from '../../harness/bundle/read.ts'
import { fanOut } from '../../harness/report/reporter.ts'
import { RunFiles } from '../../harness/report/run-files.ts'
import { runScenarios } from '../../harness/run/program.ts'
import { resolvePaths } from '../../harness/system/paths.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Measure, MeasureOptions } from './figure.ts'
import { temporaryDirectory } from './workbench.ts'

const SCENARIO = 'encrypted-root/stateful-vtpm'
const REPEAT = 5
const MOST_SECONDS = 10
const MB = 1e6

export const bundle: Measure = {
  id: 'bundle',
  title: 'a bundle of a Debian run that was kept',
  run: async (options) => {
    await using scope = new Scope('bundle')
    const point = await keptRun(options)
    const file = join(await temporaryDirectory(scope), 'bench.attestbed')
    const { checkout } = resolvePaths()
    const { version } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8'))
    const [sizes, making, opening]: [number[], number[], number[]] = [[], [], []]
    const left = new Set<string>()
    for (let i = 0; i < (options.repeat ?? REPEAT); i++) {
      options.signal.throwIfAborted()
      const found = await findPoint(dirname(dirname(point)), point)
      const before = performance.now()
      const made = await makeBundle({ found, file, include: [], checkout, version, packages: [] })
      const between = performance.now()
      await using reading = new Scope('reading')
      await openBundle(reading, file)
      making.push((between - before) / 1000)
      opening.push((performance.now() - between) / 1000)
      sizes.push(made.bytes / MB)
      for (const { what, reason } of made.manifest.leftOut) left.add(`left out: ${what}: ${reason}`)
    }
    return {
      figures: [
        { name: 'size', unit: 'MB', samples: sizes, limit: { atMost: USUAL_MOST_BYTES / MB } },
        { name: 'made in', unit: 's', samples: making, limit: { atMost: MOST_SECONDS } },
        { name: 'opened and checked in', unit: 's', samples: opening },
      ],
      notes: [`of ${SCENARIO}`, ...left],
    }
  },
}

/** Directory of the scenario in its run. */
async function keptRun({ signal, tell }: MeasureOptions): Promise<string> {
  tell(`running ${SCENARIO}`)
  const { sink, close } = fanOut([new RunFiles()], (_, error) => {
    throw error
  })
  const request = { patterns: [SCENARIO], platforms: ['tcg' as const], keep: true, signal, onEvent: sink }
  const { results } = await runScenarios(request).finally(close)
  const [result] = results
  if (result?.dir) return result.dir
  throw new Error(`${SCENARIO} was not run: ${result?.reason ?? 'nothing was selected'}`)
}
