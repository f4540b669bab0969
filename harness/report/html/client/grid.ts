/** The matrix: scenarios by variants, outcome and basis at a glance, walked with the arrow keys. */
import { type ComponentChild, h } from 'preact'
import type { ReportIndex, RunRow } from '../data.ts'
import type { Cell, Grid, GridLine } from './view-model.ts'
import { BASES, type BasisLetter, basesOf, CHANGES, counted, SIGNS } from './words.ts'

interface GridProps {
  readonly index: ReportIndex
  readonly grid: Grid
  /** Row of the index that is looked at. */
  readonly selected: number | undefined
  readonly onSelect: (row: number) => void
}

/**
 * Lines of one table: a browser neither lays out nor paints a table that is out of sight, and does so with a line of one
 * that is. All have the same fixed columns.
 */
const LINES_A_TABLE = 25
const LINE_PX = 30
const HEAD_PX = 36

export function GridView({ index, grid, selected, onSelect }: GridProps): ComponentChild {
  const { columns, groups } = grid
  if (groups.length === 0) return h('p', { class: 'empty' }, 'Nothing here fits the filter.')
  return h(
    'div',
    { class: 'grid-scroll', onKeyDown: moveFocus },
    h(
      'div',
      { class: 'grid', style: { '--columns': columns.length, '--column': `${columnPx(columns.length)}px` } },
      h(
        'table',
        { class: 'head', 'aria-hidden': true },
        columnWidths(columns),
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            h('th', { class: 's' }, 'Scenario'),
            columns.map((words) =>
              h(
                'th',
                { class: 'c' },
                words.length === 0 ? 'result' : words.map((word) => h('div', { title: word }, word)),
              ),
            ),
          ),
        ),
      ),
      groups.flatMap(({ subject, lines }) =>
        chunksOf(lines).map((chunk, number) =>
          h(
            'div',
            {
              key: `${subject} ${number}`,
              class: 'part',
              style: {
                'contain-intrinsic-height': `auto ${chunk.length * LINE_PX + (number === 0 ? HEAD_PX : 0)}px`,
              },
            },
            h(
              'table',
              { 'aria-label': subject },
              columnWidths(columns),
              h(
                'tbody',
                {},
                number === 0
                  ? h(
                      'tr',
                      { class: 'g' },
                      h('th', { scope: 'rowgroup', colSpan: columns.length + 1 }, subject),
                    )
                  : null,
                chunk.map((line) =>
                  h(Line, { key: line.scenario, line, columns, index, selected, onSelect }),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  )
}

/** Names of firmware are long: where there are few columns they are read whole. */
function columnPx(columns: number): number {
  return columns <= 3 ? 118 : columns === 4 ? 98 : 80
}

function columnWidths(columns: Grid['columns']): ComponentChild {
  return h(
    'colgroup',
    {},
    h('col', {}),
    columns.map(() => h('col', { class: 'c' })),
  )
}

function chunksOf(lines: readonly GridLine[]): readonly (readonly GridLine[])[] {
  const count = Math.ceil(lines.length / LINES_A_TABLE)
  return Array.from({ length: count }, (_, number) =>
    lines.slice(number * LINES_A_TABLE, (number + 1) * LINES_A_TABLE),
  )
}

interface LineProps extends Omit<GridProps, 'grid'> {
  readonly line: GridLine
  readonly columns: Grid['columns']
}

function Line({ line, columns, index, selected, onSelect }: LineProps): ComponentChild {
  const [, ...rest] = line.scenario.split('/')
  const name = rest.join('/') || line.scenario
  return h(
    'tr',
    {},
    h('th', { scope: 'row', class: 's', title: index.scenarios[line.scenario]?.title ?? '' }, name),
    line.cells.map((cell, column) =>
      h(
        'td',
        {},
        cell
          ? h(CellButton, {
              ...{ cell, index, selected, onSelect, scenario: line.scenario },
              column: columns[column] ?? [],
            })
          : null,
      ),
    ),
  )
}

interface CellProps extends Omit<GridProps, 'grid'> {
  readonly cell: Cell
  readonly scenario: string
  readonly column: readonly string[]
}

function CellButton({ cell, index, selected, onSelect, scenario, column }: CellProps): ComponentChild {
  const rows = cell.rows.map((number) => index.rows[number] as RunRow)
  const first = cell.rows[rows.findIndex(({ outcome }) => outcome === cell.worst)] ?? 0
  // Of the runs whose outcome is shown: a cell must not look better proven than the weakest of them.
  const bases = weakestLast(rows.filter(({ outcome }) => outcome === cell.worst).flatMap(basesOf))
  const count = rows.filter(({ outcome }) => outcome === cell.worst).length
  const changes = rows.flatMap(({ change }) => (change && change.kind !== 'same' ? [change.kind] : []))
  const isSelected = selected !== undefined && cell.rows.includes(selected)
  const words = [
    `${scenario}: ${cell.worst}`,
    ...column,
    ...(rows.length > 1 ? [`${count} of ${counted(rows.length, 'run')}`] : []),
    ...(bases.length > 0 ? [bases.map((letter) => BASES[letter]).join(', ')] : []),
    ...new Set(changes.map((kind) => CHANGES[kind])),
    ...(rows.some(({ unstable }) => unstable !== undefined) ? ['marked unstable'] : []),
    ...(rows.length === 1 && rows[0]?.reason ? [rows[0].reason] : []),
  ].join(' · ')
  return h(
    'button',
    {
      type: 'button',
      class: `cell ${cell.worst}${isSelected ? ' sel' : ''}${changes.length > 0 ? ' changed' : ''}`,
      title: words,
      'aria-label': words,
      'aria-pressed': isSelected,
      onClick: () => onSelect(first),
    },
    h('i', {}, SIGNS[cell.worst]),
    rows.length > 1 ? h('small', {}, count === rows.length ? count : `${count}/${rows.length}`) : null,
    bases.slice(-1).map((letter) => h('span', { class: `b ${letter}` }, letter)),
    rows.some(({ unstable }) => unstable !== undefined) ? h('span', { class: 'u' }, '~') : null,
  )
}

function weakestLast(bases: readonly BasisLetter[]): readonly BasisLetter[] {
  return (Object.keys(BASES) as BasisLetter[]).filter((letter) => bases.includes(letter))
}

const STEPS: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
}

/** The next button in a direction, over the holes of the matrix and from table to table. */
function moveFocus(event: KeyboardEvent): void {
  const step = STEPS[event.key]
  const from = event.target instanceof Element ? event.target.closest('td') : null
  const grid = from?.closest('.grid')
  if (!step || !from || !grid) return
  event.preventDefault()
  const lines = [...grid.querySelectorAll('tr')]
  let line = lines.indexOf(from.parentElement as HTMLTableRowElement) + step[0]
  let column = from.cellIndex + step[1]
  while (line >= 0 && line < lines.length && column > 0 && column < (lines[0]?.cells.length ?? 0)) {
    const button = lines[line]?.cells[column]?.querySelector('button')
    if (button) {
      button.focus()
      return
    }
    line += step[0]
    column += step[1]
  }
}
