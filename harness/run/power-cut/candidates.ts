/**
 * Which states are booted, and in which order: one of each content, in rounds of one of each kind of danger, so that a
 * hundred half-written files do not keep the one broken variable from being tried. A round begins with its two worst kinds;
 * the others are in an order that the seed draws, so that over many runs a small budget tries them all.
 */
import { createHash } from 'node:crypto'
import { UNREADABLE } from './esp-content.ts'
import { type CutState, type RecordedUpdate, stateAfter } from './states.ts'

/** Of each round so many of the worst come first. */
const WORST_KINDS = 2

/** The worst first. */
export const DANGERS = [
  /** A program that was there before the update is missing, cannot be read, or is neither the old nor a finished one. */
  'boot-file',
  /** The volume, or the variable store, cannot be read as a whole. */
  'unreadable',
  /** The firmware has blocks of its flash to copy over, or to make anew, when it starts. */
  'reclaim',
  /** Between what a step of the update found and what it left in the directories of the ESP. */
  'directory',
  /** Some of the boot variables of a step are written, others are not; or its files are and they are not. */
  'boot-variables',
  /** A record was being written. */
  'torn',
  /** Between two variables that no boot is chosen by. */
  'variables',
  /** Of what was written since the disk was last told to flush, not all is there. */
  'lost-writes',
  /** Nothing but the vTPM's state is new. */
  'vtpm',
  /** As it was at the start, or after a step. */
  'at-rest',
] as const
export type Danger = (typeof DANGERS)[number]

export interface Candidate {
  readonly state: CutState
  /** The state that first had this content, of those in a row up to `state`: the write that made it made the content. */
  readonly made: CutState
  readonly danger: Danger
  /** States of other bytes that a boot reads the same from, this one included. */
  readonly alike: number
}

/** One candidate for each content, in the order in which they are to be tried; equal for equal seeds. */
export function candidatesOf(
  states: readonly CutState[],
  { marks }: Pick<RecordedUpdate, 'marks'>,
  seed: number,
): readonly Candidate[] {
  const random = randomFrom(seed)
  const atRest = marks.flatMap(({ after }) => stateAfter(states, after) ?? [])
  const rest = [...states.slice(0, 1), ...atRest]
  const contents = Map.groupBy(states, ({ content }) => content)
  const candidates = [...contents.values()].flatMap((alike) => {
    const state = alike[Math.floor(random() * alike.length)]
    if (state === undefined) return []
    const made = firstInARow(states, state)
    return [{ state, made, danger: dangerOf(state, rest), alike: alike.length }]
  })
  const byDanger = DANGERS.map((danger) =>
    shuffled(
      candidates.filter((each) => each.danger === danger),
      random,
    ),
  )
  return inTurn(byDanger, random)
}

/**
 * Eight hexadecimal digits, equal where the states of two recordings follow each other alike: their ranges can be booted by
 * several runs then. Files and variables count with their content. Numbers of writes count for nothing, nor do digests of
 * a vTPM's state: they differ in each recording.
 */
export function orderOf(candidates: readonly Candidate[]): string {
  const hash = createHash('sha256')
  for (const { danger, state } of candidates) {
    const { esp, variables, lost } = state
    const contents = [esp.files, variables.variables].map((each) =>
      [...each].map((pair) => JSON.stringify(pair)).toSorted(),
    )
    const problems = [esp.problem, variables.problem].map((problem) => problem ?? null)
    const { torn, unfinished } = variables
    hash.update(JSON.stringify([danger, torn, unfinished, problems, lost.length, contents]))
  }
  return hash.digest('hex').slice(0, 8)
}

function firstInARow(states: readonly CutState[], state: CutState): CutState {
  const at = states.indexOf(state)
  const other = states.findLastIndex((each, index) => index < at && each.content !== state.content)
  return state.lost.length > 0 ? state : (states[other + 1] ?? state)
}

/** Of a state in which writes are lost, these are what the loss looks like: its files are those of no step. */
const LESS_THAN_LOST: readonly Danger[] = ['boot-variables', 'variables', 'vtpm', 'at-rest']

/** `rest`: the states at the start and after each step. What lost writes damaged counts for more than that they are lost. */
export function dangerOf(state: CutState, rest: readonly CutState[]): Danger {
  const danger = damageOf(state, rest)
  return state.lost.length > 0 && LESS_THAN_LOST.includes(danger) ? 'lost-writes' : danger
}

function damageOf(state: CutState, rest: readonly CutState[]): Danger {
  const { esp, variables } = state
  if (damagedProgram(state, rest)) return 'boot-file'
  if (esp.problem !== undefined || variables.problem !== undefined) return 'unreadable'
  if (!['none', 'dropped-at-boot'].includes(variables.unfinished)) return 'reclaim'
  if (!rest.some((each) => sameNames(each, state))) return 'directory'
  if (variables.torn !== 'none') return 'torn'
  if (!rest.some((each) => each.esp.key === esp.key && bootVariables(each) === bootVariables(state)))
    return 'boot-variables'
  if (!rest.some((each) => each.variables.key === variables.key)) return 'variables'
  return rest.some(({ content }) => content === state.content) ? 'at-rest' : 'vtpm'
}

function bootVariables({ variables }: CutState): string {
  const chosenBy = [...variables.variables].filter(([key]) => /:Boot(Order|Next|[0-9A-F]{4})$/.test(key))
  return chosenBy
    .map((pair) => pair.join('='))
    .toSorted()
    .join()
}

function damagedProgram({ esp }: CutState, rest: readonly CutState[]): boolean {
  if (esp.problem !== undefined) return false
  return [...(rest[0]?.esp.files ?? [])].some(([path, before]) => {
    if (!/\.efi$/i.test(path) || before === UNREADABLE) return false
    const now = esp.files.get(path)
    return !rest.some((each) => each.esp.files.get(path) === now && now !== undefined)
  })
}

function sameNames(a: CutState, b: CutState): boolean {
  return (
    a.esp.files.size === b.esp.files.size && [...a.esp.files.keys()].every((path) => b.esp.files.has(path))
  )
}

/** One of each list, then the next of each, until none has any left; the first two of a round in the lists' order. */
function inTurn<Item>(lists: readonly (readonly Item[])[], random: () => number): readonly Item[] {
  const most = Math.max(0, ...lists.map(({ length }) => length))
  return Array.from({ length: most }, (_, index) => {
    const round = lists.flatMap((list) => list.slice(index, index + 1))
    return [...round.slice(0, WORST_KINDS), ...shuffled(round.slice(WORST_KINDS), random)]
  }).flat()
}

function shuffled<Item>(items: readonly Item[], random: () => number): readonly Item[] {
  const keyed = items.map((item) => ({ item, key: random() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item)
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32, public domain): a sample can be drawn again. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
