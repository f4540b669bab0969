/** Looks for words in every console of the report, a block at a time, and tells what it found so far. */
import { type ComponentChild, h } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { ReportIndex } from '../data.ts'
import { readDetails } from './blocks.ts'
import { marked } from './console.ts'
import { counted, SIGNS } from './words.ts'

const LEAST_CHARACTERS = 3
const MOST_SHOWN = 60
const PAUSE_MS = 250

interface Hit {
  readonly row: number
  readonly line: string
  readonly count: number
}

interface Found {
  readonly hits: readonly Hit[]
  readonly lines: number
  /** Share of the blocks that were searched, 0 to 1. */
  readonly done: number
}

interface SearchProps {
  readonly index: ReportIndex
  readonly query: string
  readonly onSelect: (row: number) => void
}

export function ConsoleSearch({ index, query, onSelect }: SearchProps): ComponentChild | null {
  const [found, setFound] = useState<Found>()
  useEffect(() => {
    setFound(undefined)
    if (query.length < LEAST_CHARACTERS) return undefined
    const stop = new AbortController()
    const timer = setTimeout(
      () => void searchAll(index, query, { tell: setFound, signal: stop.signal }),
      PAUSE_MS,
    )
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [index, query])
  if (!found) return null
  return h(
    'section',
    { class: 'found', 'aria-label': 'Found in consoles' },
    h(
      'h3',
      { role: 'status' },
      `In consoles: ${counted(found.lines, 'line')} of ${counted(found.hits.length, 'run')}`,
      found.done < 1 ? `, ${Math.floor(found.done * 100)} % searched` : '',
    ),
    found.hits.slice(0, MOST_SHOWN).map(({ row, line, count }) => {
      const about = index.rows[row]
      return about
        ? h(
            'button',
            { type: 'button', class: 'found-hit', key: row, onClick: () => onSelect(row) },
            h('span', {}, h('i', { class: about.outcome }, SIGNS[about.outcome]), ` ${about.scenario} `),
            h('span', { class: 'dim' }, counted(count, 'line')),
            h('span', { class: 'mono' }, marked(line, query)),
          )
        : null
    }),
  )
}

const LONGEST_SHOWN = 160

async function searchAll(
  { rows }: ReportIndex,
  query: string,
  { tell, signal }: { readonly tell: (found: Found) => void; readonly signal: AbortSignal },
): Promise<void> {
  const wanted = query.toLowerCase()
  const byBlock = [...Map.groupBy(rows.keys(), (number) => rows[number]?.place[0] ?? 0)]
  const hits: Hit[] = []
  let lines = 0
  for (const [done, [block, numbers]] of byBlock.entries()) {
    const details = await readDetails(block)
    if (signal.aborted) return
    for (const row of numbers) {
      const detail = details[rows[row]?.place[1] ?? 0]
      const found =
        detail?.consoles.flatMap((console) =>
          console.lines.filter((line) => line.toLowerCase().includes(wanted)),
        ) ?? []
      if (found.length === 0) continue
      lines += found.length
      hits.push({ row, line: around(found[0] ?? '', wanted), count: found.length })
    }
    tell({ hits: [...hits], lines, done: (done + 1) / byBlock.length })
  }
  tell({ hits, lines, done: 1 })
}

function around(line: string, wanted: string): string {
  const at = line.toLowerCase().indexOf(wanted)
  const start = Math.max(0, at - 40)
  return `${start > 0 ? '…' : ''}${line.slice(start, start + LONGEST_SHOWN)}`
}
