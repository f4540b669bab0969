/** Power cuts as a scenario sees them: an update is recorded, and then states of it are booted. */
import { basename } from 'node:path'
import type { ScenarioVm } from '../vm.ts'
import { bootUntil } from './boot-until.ts'
import { type Candidate, candidatesOf, orderOf } from './candidates.ts'
import { type CutOutcome, PowerCuts } from './cuts.ts'
import { recordOrder } from './recorded-order.ts'
import { UpdateRecording } from './recording.ts'
import { mustBeOrder, ofControl, type Sampling, sampleOf, samplingOf } from './sampling.ts'
import { stateAfter } from './states.ts'

/** Of the budget: for what the scenario does with the report. */
const RESERVE_MS = 15_000

export interface RecordedPowerCuts {
  /** The update begins, or one step of it has ended with nothing left to write. */
  readonly mark: (name: string) => Promise<void>
  /** Boots a sample of the states between the first mark and the last. QEMU must have ended. */
  readonly boot: () => Promise<PowerCutReport>
}

/** A state that nothing came up from. */
export interface BrokenState {
  /** The write that made it: its number, and the structure that it changed. */
  readonly write: string
  /** Directory with the state, and a script that boots it again. */
  readonly reproducer?: string
  readonly why: string
  /** It hung until its deadline, in place of saying why. */
  readonly late: boolean
  /** All of it in a line, for people. */
  readonly line: string
}

export interface PowerCutReport {
  /** The state before the first write: a control. */
  readonly start: CutOutcome
  /** The state after the last write: a control as well. */
  readonly end: CutOutcome
  /** States that were booted beside it, fewer than asked for only where some are broken; and how many there are. */
  readonly tried: number
  readonly contents: number
  /** What each of them took, from the preparation of its disks to its end. */
  readonly seconds: readonly number[]
  readonly broken: readonly BrokenState[]
  /** Boots a copy of the files that are kept of a state, once more. */
  readonly bootKept: (reproducer: string) => Promise<Pick<CutOutcome, 'came' | 'why'>>
}

/**
 * Has the next QEMU process of the VM, which is off, record what it writes. `isControl`: it must find the worst states,
 * whichever range of another recording is asked for.
 */
export async function recordPowerCuts(
  vm: ScenarioVm,
  { isControl = false }: { readonly isControl?: boolean } = {},
): Promise<RecordedPowerCuts> {
  const recording = await UpdateRecording.prepare(vm)
  const asked = samplingOf(vm.spec.bench.sampling)
  const sampling = isControl ? ofControl(asked) : asked
  return {
    mark: (name) => recording.mark(name),
    boot: async () => {
      const cuts = await PowerCuts.open(vm, await recording.end())
      return bootSample(vm, cuts, { ...sampling, isControl })
    },
  }
}

async function bootSample(
  vm: ScenarioVm,
  cuts: PowerCuts,
  { isControl, ...sampling }: Sampling & { readonly isControl: boolean },
): Promise<PowerCutReport> {
  const note = (text: string) => vm.spec.emit({ type: 'note', text })
  const [first, last] = [cuts.states[0], stateAfter(cuts.states, cuts.update.events.length)]
  if (first === undefined || last === undefined)
    throw new Error('a recording has a state before its first write')
  const all = candidatesOf(cuts.states, cuts.update, sampling.seed).filter(
    ({ state }) => state.content !== first.content && state.content !== last.content,
  )
  const order = orderOf(all)
  note(cuts.summary)
  if (!isControl) await recordOrder(vm.spec.directory, { seed: sampling.seed, order })
  mustBeOrder(order, sampling)
  const sample = sampleOf(all, sampling)
  note(
    `${sample.length} of ${all.length} states between the first and the last are booted, ${words(sampling)}; their order is ${order}`,
  )
  const kinds = kindsLeftOut(all, sample)
  if (kinds.length > 0) note(`of these kinds none is booted: ${kinds.join(', ')}`)
  const start = await cuts.control(first)
  note(line('the start', start))
  const end = last.content === first.content ? start : await cuts.control(last)
  note(line('the end', end))
  const outcomes = await bootUntil(vm.spec.endsAt - RESERVE_MS, sample, async (candidate, index) => {
    const outcome = await cuts.boot(candidate.state, candidate.made)
    const text = line(`state ${index + 1}, ${describe(cuts, candidate)}`, outcome)
    note(text)
    return { ...outcome, line: text, write: cuts.describe(candidate.made) }
  })
  const broken = outcomes.filter(({ came }) => came === 'down').map(brokenState)
  const tried = outcomes.length
  if (tried < sample.length) note(`the budget is spent: ${tried} of ${sample.length} states were booted`)
  const seconds = outcomes.map((outcome) => outcome.seconds)
  return { start, end, tried, contents: all.length, seconds, broken, bootKept: (kept) => cuts.bootKept(kept) }
}

function brokenState(outcome: CutOutcome & Pick<BrokenState, 'line' | 'write'>): BrokenState {
  const { write, why, late, line, reproducer } = outcome
  if (reproducer === undefined) return { write, why, late, line }
  return { write, why, late, reproducer, line: `${line}; boot it again: ${reproducer}/boot.sh` }
}

/** Kinds of danger of which the sample has no state. */
function kindsLeftOut(
  all: readonly Candidate[],
  sample: readonly Candidate[],
): readonly Candidate['danger'][] {
  const tried = new Set(sample.map(({ danger }) => danger))
  return [...new Set(all.map(({ danger }) => danger))].filter((danger) => !tried.has(danger))
}

function words({ seed, states }: Sampling): string {
  if (states === 'all') return `all of them; seed ${seed}`
  const which = states.first > 1 ? `from place ${states.first}` : 'the two worst kinds first in each round'
  return `${which}; --seed ${seed} draws the same`
}

function describe(cuts: PowerCuts, { state, made, danger, alike }: Candidate): string {
  const later = state === made ? '' : ` (as it is after write ${state.after})`
  return `${danger}, one of ${alike} alike${later}, made by ${cuts.describe(made)}`
}

function line(state: string, { came, slot, why, seconds, reproducer }: CutOutcome): string {
  const result = came === 'up' ? `slot ${slot} is up` : `nothing came up (${why})`
  // A scenario that passes, since it had to find this, leaves no disk unless it is told to.
  const kept = reproducer === undefined ? '' : `; ${basename(reproducer)} boots it again where disks are kept`
  return `${state}: ${result}, ${Math.round(seconds)} s${kept}`
}
