/** The states that a power cut during a recorded update can leave behind: one after each write, in order. */
import { RunningDisk } from '../../formats/disk-states.ts'
import type { LoggedWrite } from '../../formats/write-log.ts'
import { EspContent, type EspView } from './esp-content.ts'
import { type VariablesView, viewVariables } from './variables-content.ts'

/** What changed, in the order that all three have in common. */
export type CutEvent =
  | { readonly on: 'disk'; readonly write: LoggedWrite }
  | { readonly on: 'variables'; readonly write: LoggedWrite }
  /** `version` of the vTPM's state, as in `RecordedUpdate.vtpm`. */
  | { readonly on: 'vtpm'; readonly version: number }

export interface RecordedUpdate {
  /** The ESP when the recording began, and where it lies on the disk. */
  readonly esp: { readonly bytes: Uint8Array; readonly offset: number }
  /** The flash when the recording began. */
  readonly variables: Uint8Array
  /** Digest of each version of the vTPM's state. */
  readonly vtpm: readonly string[]
  /** The version when the recording began. */
  readonly vtpmAtStart: number
  readonly events: readonly CutEvent[]
  /** Moments at which the guest had nothing left to write: what each is called, by how many events came before it. */
  readonly marks: readonly { readonly name: string; readonly after: number }[]
}

export interface CutState {
  /** Events that have happened; the last of them made this state. */
  readonly after: number
  /** Counts of events, ascending, after which the same bytes were there again. */
  readonly returns?: readonly number[]
  /** Numbers, from 1, of events up to `after` that never reached the disk: a cache of its own held them. */
  readonly lost: readonly number[]
  /** Equal for states of equal bytes in ESP, flash and vTPM. */
  readonly key: string
  /** Equal for states that a boot reads the same from. */
  readonly content: string
  readonly esp: EspView
  readonly variables: VariablesView
  readonly vtpm: number
}

/**
 * The first state of each bytes. Writes to other partitions are part of a state, and do not make one: what a boot needs
 * of them is the root file system, whose journal is not what is tested here.
 */
export function cutStates({
  esp,
  variables,
  vtpm,
  vtpmAtStart,
  events,
}: RecordedUpdate): readonly CutState[] {
  const volume = new RunningDisk(esp.bytes)
  const flash = new RunningDisk(variables)
  const content = new EspContent(volume.bytes)
  let version = vtpmAtStart
  let flashView = viewVariables(flash.bytes)
  const state = (after: number): CutState => ({
    ...{ after, lost: [], esp: content.view, variables: flashView, vtpm: version },
    key: [volume.key, flash.key, vtpm[version]].join(':'),
    content: [content.view.key, flashView.key, vtpm[version]].join(':'),
  })
  let now = state(0)
  const seen = new Map<string, { readonly state: CutState; readonly returns: number[] }>()
  seen.set(now.key, { state: now, returns: [] })
  for (const [index, event] of events.entries()) {
    if (event.on === 'vtpm') version = event.version
    else if (event.write.kind !== 'write') continue
    else if (event.on === 'disk') writeEsp({ volume, content, offset: esp.offset }, event.write)
    else {
      flash.write(event.write.offset, event.write.data)
      flashView = viewVariables(flash.bytes)
    }
    const next = state(index + 1)
    if (next.key === now.key) continue
    now = next
    const known = seen.get(now.key)
    if (known) known.returns.push(now.after)
    else seen.set(now.key, { state: now, returns: [] })
  }
  return [...seen.values()].map(({ state, returns }) => (returns.length > 0 ? { ...state, returns } : state))
}

/** What was there after so many events, where nothing is lost: the state that came last, or came back last. */
export function stateAfter(states: readonly CutState[], count: number): CutState | undefined {
  const reached = ({ after, returns = [], lost }: CutState) =>
    lost.length > 0 || after > count ? -1 : (returns.findLast((each) => each <= count) ?? after)
  const latest = states.reduce((most, state) => Math.max(most, reached(state)), -1)
  return latest < 0 ? undefined : states.find((state) => reached(state) === latest)
}

/** The events that made a state, in order. */
export function eventsOf(
  { events }: Pick<RecordedUpdate, 'events'>,
  { after, lost }: Pick<CutState, 'after' | 'lost'>,
): readonly CutEvent[] {
  const missing = new Set(lost)
  return events.slice(0, after).filter((_, index) => !missing.has(index + 1))
}

/**
 * States in which writes are lost, one interval after the other: what the writes of one replaced is put back before the
 * next. A copy of the volume for each of them, with digests of all of its programs, takes minutes.
 */
export class LossyReplay {
  readonly #update: RecordedUpdate
  readonly #volume: Buffer
  readonly #content: EspContent
  readonly #flash: Buffer
  #vtpm: number
  #done = 0

  constructor(update: RecordedUpdate) {
    this.#update = update
    this.#volume = Buffer.from(update.esp.bytes)
    this.#content = new EspContent(this.#volume)
    this.#flash = Buffer.from(update.variables)
    this.#vtpm = update.vtpmAtStart
  }

  /** Of `after` events without `lost`, none of which is among the first `begin`; `begin` never goes back. */
  state({ begin, after, lost }: Pick<CutState, 'after' | 'lost'> & { readonly begin: number }): CutState {
    this.#apply(this.#update.events.slice(this.#done, begin))
    this.#done = Math.max(this.#done, begin)
    const missing = new Set(lost)
    const kept = this.#update.events.slice(begin, after).filter((_, index) => !missing.has(begin + index + 1))
    const before = { vtpm: this.#vtpm, flash: Buffer.from(this.#flash) }
    const replaced = this.#apply(kept)
    const [esp, variables] = [this.#content.view, viewVariables(this.#flash)]
    const content = [esp.key, variables.key, this.#update.vtpm[this.#vtpm]].join(':')
    // Of what is lost, one of each content is enough, so the bytes have no digest.
    const key = [content, after, ...lost].join(':')
    const state = { after, lost, esp, variables, vtpm: this.#vtpm, key, content }
    this.#write(replaced.toReversed())
    this.#flash.set(before.flash)
    this.#vtpm = before.vtpm
    return state
  }

  /** Returns what of the volume it replaced, in order. */
  #apply(events: readonly CutEvent[]): readonly Pick<LoggedWrite, 'offset' | 'data'>[] {
    const parts: Pick<LoggedWrite, 'offset' | 'data'>[] = []
    for (const event of events) {
      if (event.on === 'vtpm') this.#vtpm = event.version
      else if (event.write.kind !== 'write') continue
      else if (event.on === 'variables') this.#flash.set(event.write.data, event.write.offset)
      else parts.push(clip(event.write, { offset: this.#update.esp.offset, size: this.#volume.length }))
    }
    return this.#write(parts)
  }

  #write(
    parts: readonly Pick<LoggedWrite, 'offset' | 'data'>[],
  ): readonly Pick<LoggedWrite, 'offset' | 'data'>[] {
    const replaced = parts.map(({ offset, data }) => {
      const old = Buffer.from(this.#volume.subarray(offset, offset + data.length))
      this.#volume.set(data, offset)
      return { offset, data: old }
    })
    this.#content.changed(...parts.map(({ offset, data }) => ({ offset, size: data.length })))
    return replaced
  }
}

function writeEsp(
  { volume, content, offset }: { volume: RunningDisk; content: EspContent; offset: number },
  write: LoggedWrite,
): void {
  const part = clip(write, { offset, size: volume.bytes.length })
  if (part.data.length === 0) return
  volume.write(part.offset, part.data)
  content.changed({ offset: part.offset, size: part.data.length })
}

/** What of a write falls into a part of the disk, with the offset in it. */
export function clip(
  write: Pick<LoggedWrite, 'offset' | 'data'>,
  part: { readonly offset: number; readonly size: number },
): { readonly offset: number; readonly data: Uint8Array } {
  const from = Math.max(write.offset, part.offset)
  const to = Math.min(write.offset + write.data.length, part.offset + part.size)
  if (to <= from) return { offset: 0, data: new Uint8Array() }
  return { offset: from - part.offset, data: write.data.subarray(from - write.offset, to - write.offset) }
}
