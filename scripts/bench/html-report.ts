/**
 * The HTML report of 2,000 runs, each with a console of its own: how large the file is, measured by the same data in one
 * compressed stream, how long it takes to write, and how long a browser takes until the matrix and a run are seen.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { NO_BROWSER, type OpenBrowser, openBrowser } from '../../harness/cli/testing/browser.ts'
import { htmlFile } from '../../harness/report/html/file.ts'
import { readDetail } from '../../harness/report/record/detail.ts'
import { type RunRecord, readRun } from '../../harness/report/record/run-record.ts'
import { bootLines, manyResults, storeRun } from '../../harness/report/testing/stored-run.ts'
import { resolvePaths } from '../../harness/system/paths.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Figure, Measure } from './figure.ts'
import { temporaryDirectory } from './workbench.ts'

const RUNS = 2000
const REPEAT = 5
const SIZE_LIMIT = { atMost: 3 } as const
const OPEN_LIMIT = { atMost: 2 } as const

export const htmlReport: Measure = {
  id: 'report',
  title: `the HTML report of ${RUNS} runs`,
  run: async ({ repeat = REPEAT, tell }) => {
    await using scope = new Scope('report')
    const directory = await temporaryDirectory(scope)
    tell(`storing ${RUNS} runs`)
    storeRun(directory, { results: manyResults(RUNS), lines: (number) => bootLines(number) })
    const run = await readRun(directory)
    const file = join(directory, 'report.html')
    tell('writing the report')
    const startedAt = performance.now()
    writeFileSync(file, await htmlFile({ runs: [run], cache: resolvePaths().cache }))
    const writing = (performance.now() - startedAt) / 1000
    const bytes = readFileSync(file).length
    const ratio = bytes / (await compressedBytes(run))
    const figures: Figure[] = [
      { name: 'size, by its data compressed as a whole', unit: 'ratio', samples: [ratio], limit: SIZE_LIMIT },
      { name: 'size', unit: 'MB', samples: [bytes / 1e6] },
      { name: 'writing it', unit: 's', samples: [writing] },
    ]
    if (NO_BROWSER) return { figures, notes: [`not opened: ${NO_BROWSER}`] }
    await using browser = await openBrowser()
    const samples: number[] = []
    for (let count = 1; count <= repeat; count++) {
      tell(`opening it: ${count} of ${repeat}`)
      samples.push(await openingSeconds(browser, file))
    }
    return {
      figures: [
        { name: 'until matrix and a run are seen', unit: 's', samples, limit: OPEN_LIMIT },
        ...figures,
      ],
      notes: [`Chromium ${browser.browser.version()}, already started`],
    }
  },
}

async function openingSeconds({ browser }: OpenBrowser, file: string): Promise<number> {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } })
  const startedAt = performance.now()
  await page.goto(`file://${file}`)
  await page.locator('.con .l').first().waitFor()
  const seconds = (performance.now() - startedAt) / 1000
  const cells = await page.locator('.grid .cell').count()
  if (cells !== RUNS) throw new Error(`the matrix has ${cells} cells, ${RUNS} were stored`)
  await page.close()
  return seconds
}

/** All that the page holds, as one stream: the report may not be blamed for what cannot be compressed. */
async function compressedBytes({ result }: RunRecord): Promise<number> {
  const details = []
  for (const each of result.results) details.push(JSON.stringify(await readDetail(each)))
  const whole = `${JSON.stringify(result)}[${details.join(',')}]`
  return deflateRawSync(whole, { level: 9 }).length
}
