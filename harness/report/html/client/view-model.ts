/** What of the report is in view: filters and the grid, worked out from the index alone. */
import type { ReportIndex, RunRow } from '../data.ts'
import { AXES, type Axis, axisValue, type OutcomeName, SEVERITY } from './words.ts'

export type Filter = 'all' | OutcomeName | 'new-failure' | 'fixed' | 'changed' | 'unstable'

export interface Cell {
  readonly rows: readonly number[]
  readonly worst: OutcomeName
}

export interface GridLine {
  readonly scenario: string
  readonly cells: readonly (Cell | undefined)[]
}

export interface GridGroup {
  readonly subject: string
  readonly lines: readonly GridLine[]
}

export interface Grid {
  readonly columns: readonly (readonly string[])[]
  readonly groups: readonly GridGroup[]
}

/** More columns than a laptop shows: the axes that matter least are folded into the cells. */
const MOST_COLUMNS = 10

/** The axes in which the runs differ at all. */
export function differingAxes({ rows }: ReportIndex): readonly Axis[] {
  return AXES.filter((axis) => new Set(rows.map((row) => axisValue(axis, row))).size > 1)
}

export function defaultColumns(index: ReportIndex): readonly Axis[] {
  const axes = [...differingAxes(index)]
  const columns = (): number =>
    new Set(index.rows.map((row) => axes.map((axis) => axisValue(axis, row)).join('\n'))).size
  while (axes.length > 1 && columns() > MOST_COLUMNS) axes.pop()
  return axes
}

export function matchesFilter(row: RunRow, filter: Filter): boolean {
  if (filter === 'all') return true
  if (filter === 'unstable') return row.unstable !== undefined
  if (filter === 'changed') return row.change !== undefined && row.change.kind !== 'same'
  if (filter === 'new-failure' || filter === 'fixed') return row.change?.kind === filter
  return row.outcome === filter
}

/** Every word must be in the run's own text: scenario, title, claims, variant, reason. */
export function searchWords(query: string): readonly string[] {
  return query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
}

export function textOf(row: RunRow, { scenarios }: ReportIndex): string {
  const about = scenarios[row.scenario]
  const claims = row.claims.map(([id]) => about?.claims[id] ?? id)
  const axes = AXES.map((axis) => axisValue(axis, row))
  return [row.scenario, about?.title ?? '', ...claims, ...axes, row.outcome, row.reason]
    .join('\n')
    .toLowerCase()
}

export function makeGrid(rows: readonly RunRow[], shown: readonly number[], axes: readonly Axis[]): Grid {
  const columnOf = (row: RunRow): readonly string[] => axes.map((axis) => axisValue(axis, row))
  const keyOf = (row: RunRow): string => columnOf(row).join('\n')
  // Of all runs, so that a filter does not move the columns.
  const columns = new Map(rows.map((row) => [keyOf(row), columnOf(row)]))
  const keys = [...columns.keys()]
  const scenarios = Map.groupBy(shown, (number) => rows[number]?.scenario ?? '')
  const lines = [...scenarios].map(([scenario, numbers]): GridLine => {
    const byColumn = Map.groupBy(numbers, (number) => keyOf(rows[number] as RunRow))
    return { scenario, cells: keys.map((key) => cellOf(byColumn.get(key), rows)) }
  })
  const groups = [...Map.groupBy(lines, ({ scenario }) => scenario.split('/')[0] ?? '')]
  return {
    columns: [...columns.values()],
    groups: groups.map(([subject, own]) => ({ subject, lines: own })),
  }
}

function cellOf(numbers: readonly number[] | undefined, rows: readonly RunRow[]): Cell | undefined {
  if (!numbers) return undefined
  const outcomes = new Set(numbers.map((number) => rows[number]?.outcome))
  return { rows: numbers, worst: SEVERITY.find((outcome) => outcomes.has(outcome)) ?? 'skip' }
}
