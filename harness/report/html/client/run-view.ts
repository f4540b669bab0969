/** One run of a scenario. */
import { type ComponentChild, h } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { ReportIndex, RunDetail, RunRow } from '../data.ts'
import { readDetail } from './blocks.ts'
import { ConsoleView } from './console.ts'
import { Claims, Evidence, Materials, Registers } from './facts.ts'
import { Timeline } from './timeline.ts'
import { AXES, axisValue, CHANGES, duration, SIGNS, when } from './words.ts'

interface RunProps {
  readonly index: ReportIndex
  readonly row: RunRow
  /** Runs in the same cell of the grid, this one among them. */
  readonly siblings: readonly number[]
  readonly number: number
  readonly onSelect: (row: number) => void
  readonly query: string
}

export function RunView({ index, row, siblings, number, onSelect, query }: RunProps): ComponentChild {
  const [detail, setDetail] = useState<RunDetail>()
  const [problem, setProblem] = useState('')
  useEffect(() => {
    let isWanted = true
    setDetail(undefined)
    setProblem('')
    readDetail(row).then(
      (read) => isWanted && setDetail(read),
      (error: unknown) => isWanted && setProblem(String(error)),
    )
    return () => {
      isWanted = false
    }
  }, [row])
  return h(
    'article',
    { 'aria-label': `${row.scenario}: ${row.outcome}` },
    h(Head, { index, row }),
    siblings.length > 1 ? h(Siblings, { index, siblings, number, onSelect }) : null,
    problem === '' ? null : h('p', { class: 'fail', role: 'alert' }, problem),
    detail ? h(Details, { detail, query }) : null,
  )
}

function Head({ index, row }: Pick<RunProps, 'index' | 'row'>): ComponentChild {
  const { change } = row
  const words = [
    ...AXES.map((axis) => axisValue(axis, row)),
    duration(row.seconds * 1000),
    ...(row.attempts > 1 ? [`attempt ${row.attempts}`] : []),
    ...(row.repetition === undefined ? [] : [`no. ${row.repetition}`]),
    ...(row.unstable === undefined ? [] : [`marked unstable: ${row.unstable}`]),
    ...(change
      ? [
          CHANGES[change.kind],
          ...(change.outcome === undefined
            ? []
            : [`was ${change.outcome} in ${duration((change.seconds ?? 0) * 1000)}`]),
        ]
      : []),
  ]
  return h(
    'header',
    { class: 'run-head' },
    h('h2', {}, row.scenario, ' ', h('span', { class: row.outcome }, `${SIGNS[row.outcome]} ${row.outcome}`)),
    h('p', {}, index.scenarios[row.scenario]?.title ?? ''),
    h('p', { class: 'dim' }, words.join(' · ')),
  )
}

/** More than these are stepped through by the grid's filters. */
const MOST_SIBLINGS = 200

function Siblings({ index, siblings, number, onSelect }: Omit<RunProps, 'row' | 'query'>): ComponentChild {
  return h(
    'nav',
    { class: 'siblings', 'aria-label': 'Runs of this cell' },
    siblings.slice(0, MOST_SIBLINGS).map((each) => {
      const row = index.rows[each]
      if (!row) return null
      const words = [
        ...AXES.map((axis) => axisValue(axis, row)),
        row.repetition === undefined ? '' : `no. ${row.repetition}`,
      ]
      return h(
        'button',
        {
          type: 'button',
          class: `cell ${row.outcome}${each === number ? ' sel' : ''}`,
          title: words.join(' · '),
          'aria-pressed': each === number,
          onClick: () => onSelect(each),
        },
        h('i', {}, SIGNS[row.outcome]),
        row.repetition === undefined ? null : h('small', {}, row.repetition),
      )
    }),
    siblings.length > MOST_SIBLINGS
      ? h('span', { class: 'dim' }, `and ${siblings.length - MOST_SIBLINGS} more`)
      : null,
  )
}

function Details({ detail, query }: { readonly detail: RunDetail; readonly query: string }): ComponentChild {
  const [cursor, setCursor] = useState<number>()
  const [chosen, setChosen] = useState(() => firstWith(detail, query))
  useEffect(() => setChosen(firstWith(detail, query)), [detail, query])
  useEffect(() => setCursor(undefined), [detail])
  const record = detail.consoles[chosen]
  return h(
    'div',
    {},
    detail.reason === '' ? null : h('pre', { class: 'reason mono' }, detail.reason),
    detail.hint === undefined ? null : h('p', { class: 'dim' }, detail.hint),
    detail.problems.map((problem) => h('p', { class: 'dim' }, `! ${problem}`)),
    h('h3', {}, 'Claims'),
    h(Claims, { claims: detail.claims }),
    detail.vms.length + detail.marks.length > 0
      ? [h('h3', {}, 'Boots'), h(Timeline, { detail, cursor, onSeek: setCursor })]
      : null,
    record
      ? [
          h(
            'h3',
            { class: 'tabs', role: 'tablist', 'aria-label': 'Consoles' },
            'Console',
            detail.consoles.map(({ vm, process }, number) =>
              h(
                'button',
                {
                  type: 'button',
                  role: 'tab',
                  'aria-selected': number === chosen,
                  'aria-pressed': number === chosen,
                  onClick: () => setChosen(number),
                },
                `${vm}, QEMU ${process}`,
              ),
            ),
          ),
          h(ConsoleView, { key: chosen, record, query, until: cursor }),
        ]
      : null,
    detail.registers.length > 0
      ? [h('h3', {}, 'Registers, predicted against seen'), h(Registers, { tables: detail.registers })]
      : null,
    detail.evidence.length > 0
      ? [h('h3', {}, 'Evidence'), detail.evidence.map((each) => h(Evidence, each))]
      : null,
    detail.broken.length > 0
      ? [
          h('h3', {}, 'Attempts that broke'),
          h(
            'ol',
            {},
            detail.broken.map(({ reason, seconds, dir }) =>
              h('li', {}, reason, h('div', { class: 'dim mono' }, `${duration(seconds * 1000)}, ${dir}`)),
            ),
          ),
        ]
      : null,
    h('h3', {}, 'Run it again'),
    h(Command, { command: detail.command }),
    detail.makeBundle === undefined
      ? null
      : [
          h('p', { class: 'dim' }, 'One file of it, for whoever is to look at it elsewhere:'),
          h(Command, { command: detail.makeBundle }),
        ],
    detail.processes.length > 0
      ? [h('h3', {}, 'Materials'), h(Materials, { processes: detail.processes })]
      : null,
    h(
      'p',
      { class: 'dim mono file' },
      detail.directory === '' ? 'nothing was started' : `${detail.directory}, ${when(detail.startedAt)}`,
    ),
  )
}

/** The console in which something is to be found, else the last one: there it went wrong. */
function firstWith({ consoles }: RunDetail, query: string): number {
  const wanted = query.toLowerCase()
  const found = consoles.findIndex(({ lines }) => lines.some((line) => line.toLowerCase().includes(wanted)))
  return wanted !== '' && found >= 0 ? found : Math.max(0, consoles.length - 1)
}

function Command({ command }: { readonly command: string }): ComponentChild {
  const [copied, setCopied] = useState(false)
  const copy = (): void => {
    // Not granted to every page that opens from disk: the text can still be selected.
    navigator.clipboard?.writeText(command).then(
      () => setCopied(true),
      () => {},
    )
  }
  return h(
    'div',
    { class: 'command' },
    h('pre', { class: 'mono', tabIndex: 0 }, command),
    h('button', { type: 'button', onClick: copy }, copied ? 'copied' : 'copy'),
  )
}
