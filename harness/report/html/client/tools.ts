/** Search, filters, and which axes are the columns of the grid. */
import { type ComponentChild, h, type RefObject } from 'preact'
import type { ReportIndex } from '../data.ts'
import { differingAxes, type Filter, matchesFilter } from './view-model.ts'
import { AXIS_NAMES, type Axis, BASES, type BasisLetter } from './words.ts'

const FILTERS: readonly (readonly [Filter, string])[] = [
  ['all', 'All'],
  ['fail', 'Failed'],
  ['error', 'Broke'],
  ['skip', 'Skipped'],
  ['new-failure', 'New failures'],
  ['fixed', 'Fixed'],
  ['changed', 'Changed'],
  ['unstable', 'Unstable'],
]

interface ToolsProps {
  readonly index: ReportIndex
  readonly filter: Filter
  readonly onFilter: (filter: Filter) => void
  readonly query: string
  readonly onQuery: (query: string) => void
  readonly columns: readonly Axis[]
  readonly onColumns: (columns: readonly Axis[]) => void
  readonly search: RefObject<HTMLInputElement | null>
}

export function Tools(props: ToolsProps): ComponentChild {
  const { index, filter, onFilter, query, onQuery, columns, onColumns, search } = props
  const axes = differingAxes(index)
  const count = (each: Filter): number => index.rows.filter((row) => matchesFilter(row, each)).length
  const toggle = (axis: Axis): void =>
    onColumns(axes.filter((each) => (each === axis ? !columns.includes(each) : columns.includes(each))))
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'tools' },
      h('input', {
        ref: search,
        type: 'search',
        class: 'search',
        placeholder: 'Search scenarios, claims, consoles  ( / )',
        'aria-label': 'Search scenarios, claims, consoles',
        value: query,
        onInput: (event: Event) => onQuery((event.target as HTMLInputElement).value),
        onKeyDown: ({ key }: KeyboardEvent) => {
          if (key === 'Escape') onQuery('')
        },
      }),
      FILTERS.map(([id, name]) => {
        const number = count(id)
        if (number === 0 && id !== filter && id !== 'fail') return null
        return h(
          'button',
          { type: 'button', 'aria-pressed': filter === id, onClick: () => onFilter(id) },
          name,
          h('small', {}, ` ${number.toLocaleString('en')}`),
        )
      }),
    ),
    axes.length > 1
      ? h(
          'div',
          { class: 'tools', role: 'group', 'aria-label': 'Columns' },
          h('span', { class: 'dim' }, 'Columns'),
          axes.map((axis) =>
            h(
              'button',
              { type: 'button', 'aria-pressed': columns.includes(axis), onClick: () => toggle(axis) },
              AXIS_NAMES[axis],
            ),
          ),
        )
      : null,
    h(
      'div',
      { class: 'legend dim' },
      'What a result rests on: ',
      (Object.keys(BASES) as BasisLetter[]).map((letter) =>
        h('span', {}, h('span', { class: `b ${letter}` }, letter), ` ${BASES[letter]}`),
      ),
    ),
  )
}
