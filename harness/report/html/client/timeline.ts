/** The boots of a run on one scale of time, what QEMU and the host did between, and a cursor that plays. */
import { type ComponentChild, h } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { BootBar, MarkKind, RunDetail, TimelineMark, VmTrack } from '../data.ts'
import { duration } from './words.ts'

const KINDS: Readonly<Record<MarkKind, string>> = {
  host: 'host',
  qmp: 'QMP',
  guest: 'command in the guest',
  note: 'note',
  claim: 'claim',
  end: 'end',
}

interface TimelineProps {
  readonly detail: RunDetail
  /** Milliseconds of the run; undefined where nothing is played. */
  readonly cursor: number | undefined
  readonly onSeek: (ms: number | undefined) => void
}

export function Timeline({ detail, cursor, onSeek }: TimelineProps): ComponentChild {
  const { ms, vms, marks } = detail
  const seek = (event: MouseEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect()
    onSeek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * ms)
  }
  const withoutVm = marks.filter(({ vm }) => !vms.some(({ name }) => name === vm))
  return h(
    'div',
    { class: 'timeline' },
    h(
      'div',
      { class: 'lanes' },
      vms.map((vm) => h(Lane, { key: vm.name, vm, marks, ms, seek })),
      withoutVm.length > 0
        ? h(
            'div',
            { class: 'lane' },
            h('span', { class: 'dim' }, 'scenario'),
            h('div', { class: 'ticks', onClick: seek }, ticks(withoutVm, ms)),
            h('span', {}),
          )
        : null,
      cursor === undefined
        ? null
        : h(
            'div',
            { class: 'cursor-lane', 'aria-hidden': true },
            h('div', { class: 'cursor', style: { left: percent(cursor, ms) } }),
          ),
    ),
    h(Player, { ms, cursor, onSeek }),
    h(
      'details',
      {},
      h('summary', {}, `All ${marks.length} events`),
      h(
        'table',
        { class: 'plain mono' },
        h(
          'tbody',
          {},
          marks.map((mark) =>
            h(
              'tr',
              {},
              h(
                'td',
                { class: 'num' },
                h(
                  'button',
                  { type: 'button', class: 'link', onClick: () => onSeek(mark.at) },
                  (mark.at / 1000).toFixed(3),
                ),
              ),
              h('td', { class: 'dim' }, KINDS[mark.kind]),
              h('td', { class: 'dim' }, mark.vm),
              h('td', {}, mark.text),
            ),
          ),
        ),
      ),
    ),
  )
}

interface LaneProps {
  readonly vm: VmTrack
  readonly marks: readonly TimelineMark[]
  readonly ms: number
  readonly seek: (event: MouseEvent) => void
}

function Lane({ vm, marks, ms, seek }: LaneProps): ComponentChild {
  return h(
    'div',
    { class: 'vm' },
    vm.boots.map((boot) =>
      h(
        'div',
        { class: 'lane', key: boot.number },
        h('span', { title: `QEMU process ${boot.process}` }, `${vm.name} ${boot.number}`),
        h('div', { class: 'tl', onClick: seek }, segments(boot, ms)),
        h(
          'span',
          { class: 'dim', title: boot.remark },
          `${duration(boot.to - boot.from)}, ${boot.ending}`,
          boot.unlocked === undefined ? null : boot.unlocked ? ', unlocked' : ', closed',
          boot.remark === '' ? null : h('div', { class: 'remark' }, boot.remark),
        ),
      ),
    ),
    h(
      'div',
      { class: 'lane' },
      h('span', {}),
      h(
        'div',
        { class: 'ticks', onClick: seek },
        ticks(
          marks.filter((mark) => mark.vm === vm.name),
          ms,
        ),
      ),
      h('span', {}),
    ),
  )
}

function segments({ segments }: BootBar, ms: number): readonly ComponentChild[] {
  return segments.map(({ phase, from, to }) =>
    h(
      'div',
      {
        class: `seg ${phase}`,
        style: { left: percent(from, ms), width: percent(to - from, ms) },
        title: `${phase}: ${duration(to - from)}, from ${(from / 1000).toFixed(3)} s`,
      },
      phase,
    ),
  )
}

function ticks(marks: readonly TimelineMark[], ms: number): readonly ComponentChild[] {
  return marks.map(({ at, kind, text }) =>
    h('i', {
      class: `tick ${kind}`,
      style: { left: percent(at, ms) },
      title: `${(at / 1000).toFixed(3)} s, ${KINDS[kind]}: ${text.slice(0, 300)}`,
    }),
  )
}

function percent(part: number, whole: number): string {
  return `${whole === 0 ? 0 : ((100 * part) / whole).toFixed(3)}%`
}

const SPEEDS = [1, 4, 16, 64] as const
const FRAME_MS = 50

/** Plays the run at its real pace, or a multiple of it. */
function Player({
  ms,
  cursor,
  onSeek,
}: Omit<TimelineProps, 'detail'> & { readonly ms: number }): ComponentChild {
  const [isPlaying, setPlaying] = useState(false)
  const [speed, setSpeed] = useState(1)
  useEffect(() => {
    if (!isPlaying) return undefined
    let [at, last] = [cursor ?? 0, performance.now()]
    const timer = setInterval(() => {
      const now = performance.now()
      at = Math.min(ms, at + (now - last) * speed)
      last = now
      onSeek(at)
      if (at >= ms) setPlaying(false)
    }, FRAME_MS)
    return () => clearInterval(timer)
    // `cursor` is where it starts, not what restarts it.
  }, [isPlaying, speed, ms])
  const toggle = (): void => {
    if (!isPlaying && (cursor === undefined || cursor >= ms)) onSeek(0)
    setPlaying(!isPlaying)
  }
  return h(
    'div',
    { class: 'bar player' },
    h('button', { type: 'button', class: 'play', onClick: toggle }, isPlaying ? '❚❚ pause' : '▶ play'),
    h(
      'select',
      {
        'aria-label': 'Speed',
        value: String(speed),
        onChange: (event: Event) => setSpeed(Number((event.target as HTMLSelectElement).value)),
      },
      SPEEDS.map((each) => h('option', { value: String(each) }, each === 1 ? 'real pace' : `${each} ×`)),
    ),
    h('input', {
      type: 'range',
      'aria-label': 'Time of the run',
      min: 0,
      max: Math.max(1, ms),
      step: 10,
      value: cursor ?? ms,
      onInput: (event: Event) => {
        setPlaying(false)
        onSeek(Number((event.target as HTMLInputElement).value))
      },
    }),
    h('span', { class: 'dim num' }, `${((cursor ?? ms) / 1000).toFixed(1)} s of ${(ms / 1000).toFixed(1)} s`),
    cursor === undefined
      ? null
      : h(
          'button',
          {
            type: 'button',
            onClick: () => {
              setPlaying(false)
              onSeek(undefined)
            },
          },
          'show all',
        ),
  )
}
