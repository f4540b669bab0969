/** The page: what it is a report of, the matrix on the left, the chosen run on the right. */
import { type ComponentChild, h } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { ReportIndex } from '../data.ts'
import { ConsoleSearch } from './console-search.ts'
import { GridView } from './grid.ts'
import { Overview } from './overview.ts'
import { RunView } from './run-view.ts'
import { Tools } from './tools.ts'
import { defaultColumns, type Filter, makeGrid, matchesFilter, searchWords, textOf } from './view-model.ts'
import { type Axis, axisValue } from './words.ts'

export function App({ index }: { readonly index: ReportIndex }): ComponentChild {
  const [filter, setFilter] = useState<Filter>('all')
  const [query, setQuery] = useState('')
  const [columns, setColumns] = useState<readonly Axis[]>(() => defaultColumns(index))
  const [selected, select] = useSelection(index)
  const search = useRef<HTMLInputElement>(null)
  const texts = useMemo(() => index.rows.map((row) => textOf(row, index)), [index])
  const shown = useMemo(() => {
    const words = searchWords(query)
    return [...index.rows.keys()].filter((number) => {
      const row = index.rows[number]
      return row && matchesFilter(row, filter) && words.every((word) => texts[number]?.includes(word))
    })
  }, [index, filter, query])
  const grid = useMemo(() => makeGrid(index.rows, shown, columns), [index, shown, columns])
  const row = selected === undefined ? undefined : index.rows[selected]
  const siblings = useMemo(() => {
    if (!row) return []
    const like = (number: number): boolean => {
      const other = index.rows[number]
      return (
        other?.scenario === row.scenario &&
        columns.every((axis) => axisValue(axis, other) === axisValue(axis, row))
      )
    }
    return [...index.rows.keys()].filter(like)
  }, [index, row, columns])
  useKeys({ index, shown, selected, select, search })
  return h(
    'div',
    { class: 'page' },
    h(Overview, { index, filter, onFilter: setFilter }),
    h(
      'main',
      { class: row ? 'with-run' : '' },
      h(
        'section',
        { class: 'left', 'aria-label': 'Matrix' },
        h(Tools, {
          index,
          filter,
          onFilter: setFilter,
          query,
          onQuery: setQuery,
          columns,
          onColumns: setColumns,
          search,
        }),
        h(GridView, { index, grid, selected, onSelect: select }),
        h(ConsoleSearch, { index, query, onSelect: select }),
      ),
      h(
        'section',
        { class: 'right', 'aria-label': 'Run' },
        row && selected !== undefined
          ? h(RunView, { index, row, siblings, number: selected, onSelect: select, query })
          : h('p', { class: 'empty' }, 'Choose a run.'),
      ),
    ),
  )
}

/** The chosen run, in the address: it can be linked to, and the browser's way back works. */
function useSelection(index: ReportIndex): readonly [number | undefined, (row: number) => void] {
  const read = (): number | undefined => {
    const number = Number(/^#run-(\d{1,9})$/.exec(location.hash)?.[1] ?? Number.NaN)
    return index.rows[number] ? number : undefined
  }
  const [selected, setSelected] = useState<number | undefined>(() => read() ?? worstOf(index))
  useEffect(() => {
    const follow = (): void => setSelected(read() ?? worstOf(index))
    addEventListener('hashchange', follow)
    return () => removeEventListener('hashchange', follow)
  }, [index])
  return [
    selected,
    (row) => {
      setSelected(row)
      history.pushState(null, '', `#run-${row}`)
    },
  ]
}

/** What a reader opens the report for: a new failure, else any, else what broke. */
function worstOf({ rows }: ReportIndex): number | undefined {
  const wanted = [
    (number: number) => rows[number]?.change?.kind === 'new-failure',
    (number: number) => rows[number]?.outcome === 'fail',
    (number: number) => rows[number]?.outcome === 'error',
    () => true,
  ]
  for (const is of wanted) {
    const found = [...rows.keys()].find(is)
    if (found !== undefined) return found
  }
  return undefined
}

interface Keys {
  readonly index: ReportIndex
  readonly shown: readonly number[]
  readonly selected: number | undefined
  readonly select: (row: number) => void
  readonly search: { readonly current: HTMLInputElement | null }
}

/** `/` searches, j and k go to the next and the last run that did not pass, Escape leaves the search. */
function useKeys(keys: Keys): void {
  // The next key may come before an effect has run: what is heard is always about what was last drawn.
  const latest = useRef(keys)
  latest.current = keys
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const { index, shown, selected, select, search } = latest.current
      const isTyping = event.target instanceof HTMLElement && event.target.matches('input, select')
      if (event.key === 'Escape' && event.target === search.current) search.current?.blur()
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return
      if (event.key === '/') {
        event.preventDefault()
        search.current?.focus()
        search.current?.select()
      }
      if (event.key !== 'j' && event.key !== 'k') return
      const wrong = shown.filter((number) => ['fail', 'error'].includes(index.rows[number]?.outcome ?? ''))
      const from = selected ?? -1
      const next =
        event.key === 'j' ? wrong.find((number) => number > from) : wrong.findLast((number) => number < from)
      if (next !== undefined) select(next)
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [])
}
