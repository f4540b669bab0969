/**
 * The HTML report: one file that opens from disk. Nothing in it is loaded from anywhere, and the only script that may run
 * is the one whose digest its policy names; the data lies in elements that browsers do not run, as base64.
 */
import { createHash } from 'node:crypto'
import { dirname, relative } from 'node:path'
import type { ScenarioResult } from '../../run/events.ts'
import { inBundle } from '../record/bundled-run.ts'
import { readDetail, shellWords } from '../record/detail.ts'
import type { RunRecord } from '../record/run-record.ts'
import { type Block, BlockWriter, pack } from './blocks.ts'
import type { ClientBundle } from './client-bundle.ts'
import type { ReportIndex, RunDetail } from './data.ts'
import { makeIndex, type PlacedResult } from './index-of.ts'
import { safeTexts } from './safe-texts.ts'

export interface HtmlReport {
  readonly runs: readonly RunRecord[]
  /** What it is compared with. */
  readonly before?: RunRecord
  readonly client: ClientBundle
}

/** The whole file as text. What a run's directory no longer has is named in the page; nothing of that is thrown. */
export async function htmlReport({ runs, before, client }: HtmlReport): Promise<string> {
  const blocks: Block[] = []
  const writer = new BlockWriter((block) => blocks.push(block))
  const placed: PlacedResult[] = []
  for (const run of runs)
    for (const result of run.result.results) {
      const { consoles, ...detail } = await detailOf(run, result)
      // Consoles are safe as they are read, and most of all text.
      placed.push({ result, place: writer.add({ ...safeTexts(detail), consoles }) })
    }
  writer.flush()
  const index: ReportIndex = makeIndex({ runs, placed, ...(before && { before }) })
  return document([pack('index', safeTexts(index)), ...blocks], client)
}

async function detailOf(run: RunRecord, result: ScenarioResult): Promise<RunDetail> {
  const { directory, isPoint, bundle } = run
  // One scenario alone may lie anywhere, too. Of a bundle, no path that is stored is opened: a stranger chose it.
  const isHere = isPoint || bundle !== undefined
  const detail = isHere
    ? await readDetail({ ...result, dir: directory }, dirname(directory))
    : await readDetail(result, directory)
  if (bundle === undefined) return detail
  const { makeBundle: _, ...rest } = detail
  return {
    ...{ ...rest, directory: bundle, command: shellWords(['attestbed', 'repro', bundle]) },
    problems: inBundle(run, detail.problems),
    consoles: detail.consoles.map((each) => {
      return { ...each, file: `${relative(dirname(directory), each.file)} in ${bundle}` }
    }),
  }
}

function document(blocks: readonly Block[], { script, style }: ClientBundle): string {
  // Neither may end its element early; both are ours, so this is only to be sure.
  const safeScript = script.replaceAll('</script', '<\\/script')
  const safeStyle = style.replaceAll('</style', '<\\/style')
  const policy = [
    "default-src 'none'",
    `script-src '${sourceDigest(safeScript)}'`,
    `style-src '${sourceDigest(safeStyle)}'`,
    ...[
      "base-uri 'none'",
      "form-action 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ],
  ].join('; ')
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">',
    `<title>Attestbed report</title><style>${safeStyle}</style></head>`,
    '<body><div id="root"><noscript>This report needs JavaScript.</noscript></div>',
    ...blocks.map(
      ({ id, base64 }) => `<script type="application/octet-stream" id="${id}">${base64}</script>`,
    ),
    `<script>${safeScript}</script></body></html>`,
    '',
  ].join('\n')
}

/** As Content Security Policy level 3, 6.7.2, has it. */
function sourceDigest(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
