/** The matrix: scenarios by variants, outcome and basis at a glance, walked with the arrow keys. */
import { type ComponentChild, h } from 'preact'
import type { ReportIndex, RunRow } from '../data.ts'
import type { Cell, Grid, GridLine } from './view-model.ts'
import { BASES, basesOf, CHANGES, counted, SIGNS } from './words.ts'

interface GridProps {
  readonly index: ReportIndex
  readonly grid: Grid
  /** Row of the index that is looked at. */
  readonly selected: number | undefined
  readonly onSelect: (row: number) => void
}

export function GridView({ index, grid, selected, onSelect }: GridProps): ComponentChild {
  if (grid.groups.length === 0) return h('p', { class: 'empty' }, 'Nothing here fits the filter.')
  const head = h(
    'tr',
    {},
    h('th', { scope: 'col' }, 'Scenario'),
    grid.columns.map((words) =>
      h(
        'th',
        { class: 'c', scope: 'col' },
        words.length === 0 ? 'result' : words.map((word) => h('div', { title: word }, word)),
      ),
    ),
  )
  return h(
    'div',
    { class: 'grid-scroll', onKeyDown: moveFocus },
    h(
      'table',
      { class: 'grid' },
      h('thead', {}, head),
      grid.groups.map(({ subject, lines }) =>
        h(
          'tbody',
          { key: subject },
          h('tr', { class: 'g' }, h('th', { scope: 'rowgroup', colSpan: grid.columns.length + 1 }, subject)),
          lines.map((line) => h(Line, { key: line.scenario, line, index, selected, onSelect })),
        ),
      ),
    ),
  )
}

interface LineProps extends Omit<GridProps, 'grid'> {
  readonly line: GridLine
}

function Line({ line, index, selected, onSelect }: LineProps): ComponentChild {
  const [, ...rest] = line.scenario.split('/')
  const name = rest.join('/') || line.scenario
  return h(
    'tr',
    {},
    h('th', { scope: 'row', class: 's', title: index.scenarios[line.scenario]?.title ?? '' }, name),
    line.cells.map((cell) =>
      h('td', {}, cell ? h(CellButton, { cell, index, selected, onSelect, scenario: line.scenario }) : null),
    ),
  )
}

interface CellProps extends Omit<GridProps, 'grid'> {
  readonly cell: Cell
  readonly scenario: string
}

function CellButton({ cell, index, selected, onSelect, scenario }: CellProps): ComponentChild {
  const rows = cell.rows.map((number) => index.rows[number] as RunRow)
  const first = cell.rows[rows.findIndex(({ outcome }) => outcome === cell.worst)] ?? 0
  const bases = [...new Set(rows.flatMap(basesOf))]
  const count = rows.filter(({ outcome }) => outcome === cell.worst).length
  const changes = rows.flatMap(({ change }) => (change && change.kind !== 'same' ? [change.kind] : []))
  const isSelected = selected !== undefined && cell.rows.includes(selected)
  const words = [
    `${scenario}: ${cell.worst}`,
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
    bases.slice(0, 1).map((letter) => h('span', { class: `b ${letter}` }, letter)),
    rows.some(({ unstable }) => unstable !== undefined) ? h('span', { class: 'u' }, '~') : null,
  )
}

const STEPS: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
}

/** The next button in a direction, over the holes of the matrix. */
function moveFocus(event: KeyboardEvent): void {
  const step = STEPS[event.key]
  const from = event.target instanceof Element ? event.target.closest('td') : null
  const table = from?.closest('table')
  if (!step || !from || !table) return
  event.preventDefault()
  const lines = [...table.rows]
  let line = lines.indexOf(from.parentElement as HTMLTableRowElement) + step[0]
  let column = from.cellIndex + step[1]
  while (line >= 0 && line < lines.length && column >= 0 && column < (table.rows[0]?.cells.length ?? 0)) {
    const button = lines[line]?.cells[column]?.querySelector('button')
    if (button) {
      button.focus()
      return
    }
    line += step[0]
    column += step[1]
  }
}
