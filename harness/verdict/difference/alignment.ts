/** Which event of one list is which of another: equal ones first, then those that are one thing with another content. */
import type { MeasuredEvent } from '../../measure/documents/document.ts'

/** Positions count from 0 in the register's own events. */
export interface Pair {
  readonly a: Placed | undefined
  readonly b: Placed | undefined
}

interface Placed {
  readonly at: number
  readonly event: MeasuredEvent
}

/** How well two events fit; the best sum over the lists is taken. From SAME on they do not differ. */
const CHANGED = 1
const SAME = 2
const SAME_NAME = 3
const SAME_DIGESTS = 4

/** The longest list that is aligned event by event; longer ones are compared by position. */
const MAX_ALIGNED = 1500

/** The pairs that differ, and what only one list has, in the order of the lists. */
export function aligned(a: readonly MeasuredEvent[], b: readonly MeasuredEvent[]): readonly Pair[] {
  const [left, right] = [a.map(named), b.map(named)]
  const found = Math.max(a.length, b.length) > MAX_ALIGNED ? byPosition(left, right) : bestFit(left, right)
  const borders = [...found, { a: a.length, b: b.length, fit: SAME_DIGESTS }]
  let [fromA, fromB] = [0, 0]
  return borders.flatMap((border) => {
    const pairs = leftOver(placed(a, fromA, border.a), placed(b, fromB, border.b))
    fromA = border.a + 1
    fromB = border.b + 1
    return border.fit < SAME ? [...pairs, { a: at(a, border.a), b: at(b, border.b) }] : pairs
  })
}

/** What fits nothing: events of one type are taken for changes of one another, in their order. */
function leftOver(a: readonly Placed[], b: readonly Placed[]): readonly Pair[] {
  const taken = new Set<Placed>()
  const pairs = a.map((left): Pair => {
    const right = b.find((each) => !taken.has(each) && each.event.type === left.event.type)
    if (right) taken.add(right)
    return { a: left, b: right }
  })
  return [...pairs, ...b.filter((each) => !taken.has(each)).map((right) => ({ a: undefined, b: right }))]
}

function at(events: readonly MeasuredEvent[], position: number): Placed | undefined {
  const event = events[position]
  return event && { at: position, event }
}

function placed(events: readonly MeasuredEvent[], from: number, to: number): readonly Placed[] {
  return events.slice(from, to).map((event, index) => ({ at: from + index, event }))
}

interface Named {
  readonly event: MeasuredEvent
  /** Type, and of the description what stays when the content changes: `variable db`, `section .linux`. */
  readonly name: string
}

function named(event: MeasuredEvent): Named {
  return { event, name: `${event.type} ${event.description.split(/[,:"(]/)[0]?.trim()}` }
}

interface Fit {
  readonly a: number
  readonly b: number
  readonly fit: number
}

function byPosition(a: readonly Named[], b: readonly Named[]): readonly Fit[] {
  return a.flatMap((left, index) => {
    const right = b[index]
    const fit = right ? fitOf(left, right) : 0
    return fit > 0 ? [{ a: index, b: index, fit }] : []
  })
}

/** Longest common subsequence by its table, each pair counted by how well it fits. */
function bestFit(a: readonly Named[], b: readonly Named[]): readonly Fit[] {
  const width = b.length + 1
  const sums = new Uint16Array((a.length + 1) * width)
  const sum = (i: number, j: number) => sums[i * width + j] ?? 0
  const fit = (i: number, j: number) => {
    const [left, right] = [a[i], b[j]]
    return left && right ? fitOf(left, right) : 0
  }
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) {
      const both = fit(i, j)
      const apart = Math.max(sum(i + 1, j), sum(i, j + 1))
      sums[i * width + j] = both === 0 ? apart : Math.max(apart, sum(i + 1, j + 1) + both)
    }
  const found: Fit[] = []
  for (let [i, j] = [0, 0]; i < a.length && j < b.length; ) {
    const both = fit(i, j)
    if (both > 0 && sum(i, j) === sum(i + 1, j + 1) + both) found.push({ a: i++, b: j++, fit: both })
    else if (sum(i + 1, j) >= sum(i, j + 1)) i++
    else j++
  }
  return found
}

/**
 * The digests decide, in the algorithms that both have; what an event says of itself is not measured. An event without
 * any is one that a prediction could not know: it is taken for whatever of its type stands there.
 */
function fitOf(left: Named, right: Named): number {
  const [a, b] = [left.event.digests, right.event.digests]
  const [namesA, namesB] = [Object.keys(a), Object.keys(b)]
  const isSameName = left.name === right.name
  if (namesA.length === 0 || namesB.length === 0) {
    if (isSameName) return SAME_NAME
    const isBothUnknown = namesA.length === namesB.length
    return left.event.type === right.event.type && !isBothUnknown ? SAME : 0
  }
  const algorithms = namesA.filter((name) => name in b)
  if (algorithms.length > 0 && algorithms.every((name) => a[name] === b[name])) return SAME_DIGESTS
  return isSameName ? CHANGED : 0
}
