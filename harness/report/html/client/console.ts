/** A console: only the lines in view are elements, so that a megabyte scrolls; searched, and played at its own pace. */
import { type ComponentChild, h } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { ConsoleRecord } from '../data.ts'
import { counted } from './words.ts'

const LINE_PX = 18
const VIEW_PX = 306
const AHEAD = 12
/** What the harness and its guest say to each other begins with a random marker; for no human. */
const FRAME = /^[0-9a-f]{32}\b/

interface ConsoleProps {
  readonly record: ConsoleRecord
  /** Words to find at once; from a search over all runs. */
  readonly query: string
  /** Milliseconds of the run up to which it is shown; undefined: all of it. */
  readonly until: number | undefined
}

interface Line {
  readonly at: number
  readonly text: string
}

export function ConsoleView({ record, query, until }: ConsoleProps): ComponentChild {
  const [search, setSearch] = useState(query)
  const [withFrames, setWithFrames] = useState(false)
  const [hit, setHit] = useState(0)
  const [top, setTop] = useState(0)
  const view = useRef<HTMLDivElement>(null)
  useEffect(() => setSearch(query), [query])
  const lines = useMemo(() => linesOf(record, withFrames), [record, withFrames])
  const shown = until === undefined ? lines : lines.slice(0, countUntil(lines, until))
  const hits = useMemo(() => hitsOf(shown, search), [shown.length, lines, search])
  const scrollTo = (line: number): void => {
    view.current?.scrollTo({ top: Math.max(0, line * LINE_PX - VIEW_PX / 2) })
  }
  const step = (by: number): void => {
    if (hits.length === 0) return
    const next = (hit + by + hits.length) % hits.length
    setHit(next)
    scrollTo(hits[next] ?? 0)
  }
  useEffect(() => {
    setHit(0)
    if (hits[0] !== undefined) scrollTo(hits[0])
  }, [search, record])
  useEffect(() => {
    if (until !== undefined) view.current?.scrollTo({ top: shown.length * LINE_PX })
  }, [until, shown.length])
  const first = Math.max(0, Math.floor(top / LINE_PX) - AHEAD)
  const last = Math.min(shown.length, Math.ceil((top + VIEW_PX) / LINE_PX) + AHEAD)
  const hidden = record.lines.length - lines.length
  return h(
    'div',
    { class: 'console' },
    h(
      'div',
      { class: 'bar' },
      h('input', {
        type: 'search',
        placeholder: 'Search this console',
        'aria-label': 'Search this console',
        value: search,
        onInput: (event: Event) => setSearch((event.target as HTMLInputElement).value),
        onKeyDown: (event: KeyboardEvent) => {
          if (event.key === 'Enter') step(event.shiftKey ? -1 : 1)
        },
      }),
      search === ''
        ? h('span', { class: 'dim' }, counted(record.lines.length, 'line'))
        : h(
            'span',
            { class: 'dim', role: 'status' },
            hits.length === 0 ? 'not found' : `${hit + 1} of ${hits.length}`,
          ),
      h('button', { type: 'button', onClick: () => step(-1), disabled: hits.length === 0 }, '↑'),
      h('button', { type: 'button', onClick: () => step(1), disabled: hits.length === 0 }, '↓'),
      hidden > 0 || withFrames
        ? h(
            'label',
            { class: 'dim', title: 'What the harness and its guest say to each other over the console' },
            h('input', {
              type: 'checkbox',
              checked: withFrames,
              onChange: () => setWithFrames(!withFrames),
            }),
            ` the harness's own frames`,
          )
        : null,
    ),
    h(
      'div',
      {
        ref: view,
        class: 'con mono',
        tabIndex: 0,
        role: 'log',
        'aria-label': `Console of ${record.vm}, QEMU process ${record.process}`,
        'aria-live': 'off',
        onScroll: (event: Event) => setTop((event.target as HTMLElement).scrollTop),
      },
      h(
        'div',
        { class: 'con-all', style: { height: `${shown.length * LINE_PX}px` } },
        h(
          'div',
          { class: 'con-seen', style: { top: `${first * LINE_PX}px` } },
          shown
            .slice(first, last)
            .map((line, offset) =>
              h(
                'div',
                { key: first + offset, class: hits[hit] === first + offset ? 'l hit' : 'l' },
                h('time', {}, (line.at / 1000).toFixed(3)),
                h('span', {}, marked(line.text, search)),
              ),
            ),
        ),
      ),
    ),
    h(
      'pre',
      { class: 'print-only mono' },
      shown.slice(-60).map((line) => `${line.text}\n`),
    ),
    h('div', { class: 'dim file mono' }, record.file),
  )
}

function linesOf(record: ConsoleRecord, withFrames: boolean): readonly Line[] {
  let at = record.from
  const lines = record.lines.map((text, number): Line => {
    at += record.steps[number] ?? 0
    return { at, text }
  })
  const { omitted } = record
  const gap: Line[] = omitted
    ? [
        {
          at: lines[omitted.at]?.at ?? at,
          text: `… ${omitted.bytes.toLocaleString('en')} bytes are only in the file named below …`,
        },
      ]
    : []
  const all = omitted ? [...lines.slice(0, omitted.at), ...gap, ...lines.slice(omitted.at)] : lines
  return withFrames ? all : all.filter(({ text }) => !FRAME.test(text))
}

/** How many lines were there at a time; by halves. */
function countUntil(lines: readonly Line[], until: number): number {
  let [low, high] = [0, lines.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((lines[middle]?.at ?? 0) <= until) low = middle + 1
    else high = middle
  }
  return low
}

function hitsOf(lines: readonly Line[], search: string): readonly number[] {
  const wanted = search.toLowerCase()
  if (wanted === '') return []
  return lines.flatMap(({ text }, number) => (text.toLowerCase().includes(wanted) ? [number] : []))
}

/** The text with what was looked for set apart; as text nodes, whatever it says. */
export function marked(text: string, search: string): readonly (string | ComponentChild)[] {
  const wanted = search.toLowerCase()
  const lower = text.toLowerCase()
  // Where lower case is of another length, places would not be the same.
  if (wanted === '' || lower.length !== text.length) return [text]
  const parts: (string | ComponentChild)[] = []
  let start = 0
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, start)) {
    parts.push(text.slice(start, at), h('mark', {}, text.slice(at, at + wanted.length)))
    start = at + wanted.length
  }
  return [...parts, text.slice(start)]
}
