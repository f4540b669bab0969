/** The boots of each VM as spans of time, out of the events of one attempt. */
import type { Phase, RunEvent } from '../../run/events.ts'
import type { BootBar, VmTrack } from '../html/data.ts'

type Draft<Type> = { -readonly [Key in keyof Type]: Type[Key] }
type Segment = Draft<BootBar['segments'][number]>
interface Bar extends Draft<Omit<BootBar, 'segments'>> {
  readonly segments: Segment[]
}

interface Track {
  readonly bars: Bar[]
  processes: number
  isOn: boolean
  /** QEMU tells of resets; phases are what the guest prints, and say nothing of them. */
  readonly hasQmp: boolean
}

/** `since`: what times are relative to; `until`: when the attempt ended. */
export function bootBars(
  events: readonly RunEvent[],
  { since, until }: { readonly since: number; readonly until: number },
): readonly VmTrack[] {
  const tracks = new Map<string, Track>()
  const hasQmp = events.some(({ type }) => type === 'qmp-event')
  for (const event of events) {
    if (!('vm' in event)) continue
    const track = tracks.get(event.vm) ?? { bars: [], processes: 0, isOn: false, hasQmp }
    tracks.set(event.vm, track)
    follow(track, event, event.at - since)
  }
  for (const { bars, isOn } of tracks.values()) if (isOn) end(bars.at(-1), until - since, 'running')
  return [...tracks]
    .filter(([, { bars }]) => bars.length > 0)
    .map(([name, { bars }]) => ({ name, boots: bars }))
}

function follow(track: Track, event: Extract<RunEvent, { vm: string }>, at: number): void {
  switch (event.type) {
    case 'vm-started':
      track.processes += 1
      begin(track, at)
      return
    case 'phase':
      if (track.isOn) enter(track, event.phase, at)
      return
    case 'qmp-event':
      if (event.name === 'RESET' && track.isOn) {
        end(track.bars.at(-1), at, 'reset')
        begin(track, at)
      }
      return
    case 'vm-ended':
      end(track.bars.at(-1), at, event.kind)
      track.isOn = false
      return
    case 'boot-ended': {
      const { boot } = event
      const bar = track.bars[boot.number - 1]
      if (!bar) return
      bar.ending = boot.ending
      bar.unlocked = boot.unlocked
      bar.remark = remarkOf(boot)
      return
    }
    default:
  }
}

function begin(track: Track, at: number): void {
  track.isOn = true
  track.bars.push({
    ...{ number: track.bars.length + 1, process: track.processes, from: at, to: at, ending: '', remark: '' },
    segments: [{ phase: 'firmware', from: at, to: at }],
  })
}

/** The firmware's phase after another one is a reset that nobody told of: version 2 had no QMP events. */
function enter(track: Track, phase: Phase, at: number): void {
  const bar = track.bars.at(-1)
  const last = bar?.segments.at(-1)
  if (!bar || !last || last.phase === phase) return
  if (phase === 'launching' || phase === 'preparing') return
  if (phase === 'firmware' && !track.hasQmp) {
    end(bar, at, 'reset')
    begin(track, at)
    return
  }
  last.to = at
  bar.segments.push({ phase, from: at, to: at })
}

function end(bar: Bar | undefined, at: number, ending: string): void {
  if (!bar) return
  bar.to = at
  const last = bar.segments.at(-1)
  if (last) last.to = at
  if (bar.ending === '') bar.ending = ending
}

function remarkOf(boot: Extract<RunEvent, { type: 'boot-ended' }>['boot']): string {
  const { slot, entry, refused, why, unlocked, words } = boot
  return [
    ...(slot === 'none' ? [] : [`slot ${slot}`]),
    ...(entry === '' ? [] : [entry]),
    ...refused.map((each) => `refused ${each.entry}: ${each.why}`),
    ...(unlocked || why === 'unknown' ? [] : [why]),
    ...(words === '' ? [] : [words]),
  ].join(' · ')
}
