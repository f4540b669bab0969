/** The head of the page: which run, on what, how it went. */
import { type ComponentChild, h } from 'preact'
import { useState } from 'preact/hooks'
import type { ReportIndex, RunAbout } from '../data.ts'
import type { Filter } from './view-model.ts'
import { counted, duration, hostLine, type OutcomeName, when } from './words.ts'

const OUTCOMES: readonly OutcomeName[] = ['pass', 'fail', 'error', 'skip']

interface OverviewProps {
  readonly index: ReportIndex
  readonly filter: Filter
  readonly onFilter: (filter: Filter) => void
}

export function Overview({ index, filter, onFilter }: OverviewProps): ComponentChild {
  const { rows, runs, before, gone = [], problems } = index
  const words = [...problems, ...runs.flatMap(({ expired }) => expired)]
  return h(
    'header',
    { class: 'top' },
    h('h1', {}, index.title),
    h(
      'span',
      { class: 'sum' },
      OUTCOMES.map((outcome) =>
        h(
          'button',
          {
            type: 'button',
            class: outcome,
            'aria-pressed': filter === outcome,
            onClick: () => onFilter(filter === outcome ? 'all' : outcome),
          },
          h('b', {}, rows.filter((row) => row.outcome === outcome).length.toLocaleString('en')),
          ` ${outcome}`,
        ),
      ),
    ),
    h('span', { class: 'dim about' }, aboutAll(runs)),
    h(ThemeButton, {}),
    before
      ? h(
          'p',
          { class: 'dim' },
          `Compared with the run of ${when(before.startedAt)} (${before.directory})`,
          gone.length > 0
            ? `; ${counted(gone.length, 'run')} of it ${gone.length === 1 ? 'is' : 'are'} not here`
            : '',
        )
      : null,
    words.length > 0
      ? h(
          'ul',
          { class: 'problems' },
          words.map((word) => h('li', { class: 'error' }, word)),
        )
      : null,
    runs.length > 1
      ? h(
          'details',
          { class: 'notes dim' },
          h('summary', {}, counted(runs.length, 'run')),
          h(
            'ul',
            {},
            runs.map((run) => h('li', {}, `${aboutLine(run)}: ${run.directory}`)),
          ),
        )
      : null,
    runs.some(({ notes }) => notes.length > 0)
      ? h(
          'details',
          { class: 'notes dim' },
          h('summary', {}, 'Notes of the run'),
          h(
            'ul',
            {},
            runs.flatMap(({ notes }) => notes.map((note) => h('li', {}, note))),
          ),
        )
      : null,
  )
}

/** Of many runs, shards of a night say, the lines would fill a laptop: those unfold. */
function aboutAll(runs: readonly RunAbout[]): string {
  const [first] = runs
  if (!first || runs.length === 1) return runs.map(aboutLine).join('')
  const begin = Math.min(...runs.map(({ startedAt }) => startedAt))
  const end = Math.max(...runs.map(({ startedAt, ms }) => startedAt + ms))
  const cut = runs.filter(({ ended }) => !ended).length
  const hosts = new Set(runs.flatMap(({ host }) => host?.name ?? []))
  return [
    `${runs.length} runs, ${when(begin)} to ${when(end)}`,
    ...(cut === 0 ? [] : [`${cut} cut short`]),
    ...(hosts.size === 0 ? [] : [`on ${[...hosts].slice(0, MOST_HOSTS).join(', ')}`]),
    ...(hosts.size > MOST_HOSTS ? [`and ${hosts.size - MOST_HOSTS} more`] : []),
  ].join(', ')
}

const MOST_HOSTS = 4

function aboutLine(run: RunAbout): string {
  const host = hostLine(run)
  const end = run.ended ? '' : ', cut short'
  return `${when(run.startedAt)}, ${duration(run.ms)}${end}${host === '' ? '' : `, ${host}`}`
}

/** The theme of the system, until another one is asked for. */
function ThemeButton(): ComponentChild {
  const [isDark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches)
  const turn = (): void => {
    document.documentElement.dataset['theme'] = isDark ? 'light' : 'dark'
    setDark(!isDark)
  }
  return h('button', { type: 'button', class: 'theme', onClick: turn }, isDark ? 'light' : 'dark')
}
