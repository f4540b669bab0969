/** `attestbed list`: the scenarios, what they span and what they claim. */
import { pad, wrap } from '../report/layout.ts'
import { paletteFor } from '../report/palette.ts'
import { type FoundScenario, loadScenarios, scenarioIds, selectIds } from '../run/discover.ts'
import { widthOf, writeDocument } from './output.ts'

/** Returns the exit code. Throws UsageError `unknown-scenario`. */
export async function list(
  patterns: readonly string[],
  { json = false }: { readonly json?: boolean },
): Promise<number> {
  const scenarios = await loadScenarios(selectIds(await scenarioIds(), patterns))
  if (json) writeDocument({ scenarios: scenarios.map(documentOf) })
  else process.stdout.write(describe(scenarios, widthOf(process.stdout)))
  return 0
}

function documentOf({ id, scenario }: FoundScenario): object {
  const { title, images, vtpms, tees, needs, budget, claims } = scenario
  return {
    scenario: id,
    title,
    images,
    vtpms,
    ...(tees && { tees }),
    needs,
    budget,
    claims: Object.entries(claims).map(([claim, declaration]) => ({ id: claim, ...declaration })),
  }
}

const INDENT = '    '

function describe(scenarios: readonly FoundScenario[], width: number): string {
  const { strong, faint } = paletteFor(process.stdout)
  const entries = scenarios.map(({ id, scenario }) => {
    const tees = scenario.tees ? `${scenario.tees.join('|')}, ` : ''
    const axes = `${tees}${scenario.vtpms.join('|')} vTPM, ${scenario.images.join('|')}`
    const claims = Object.values(scenario.claims).flatMap(({ claim, requires }) =>
      item(requires === undefined ? claim : `${claim} (needs ${requires})`, width),
    )
    return [strong(id), ...indented(scenario.title, width), ...indented(axes, width).map(faint), ...claims]
  })
  const count = `${scenarios.length} scenarios; run one with: attestbed run ${scenarios[0]?.id ?? ''}`
  return `${[...entries.map((lines) => `${lines.join('\n')}\n`), count].join('\n')}\n`
}

function indented(text: string, width: number): readonly string[] {
  return wrap(text, width - INDENT.length).map((line) => INDENT + line)
}

function item(text: string, width: number): readonly string[] {
  const bullet = pad('  -', INDENT.length)
  return indented(text, width).map((line, index) => (index === 0 ? bullet + line.slice(INDENT.length) : line))
}
