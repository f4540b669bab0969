/** Events that differ, register by register: changed, or only in one. */
import type { InputName, MeasuredDocument, MeasuredEvent } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'
import { type ChangedInputs, causesAmong, shown } from './inputs.ts'

/** Inputs that events of a register come from; what is not listed can come from anything. */
const REGISTER_INPUTS: Readonly<Record<string, readonly InputName[]>> = {
  pcr0: ['firmware'],
  pcr1: ['firmware', 'variables', 'memory', 'vcpus', 'cpu', 'qemu', 'argv'],
  pcr2: ['qemu', 'argv', 'firmware'],
  pcr3: ['qemu', 'argv', 'firmware'],
  pcr4: ['uki', 'kernel', 'disk', 'firmware'],
  pcr5: ['disk', 'argv'],
  pcr7: ['variables', 'uki', 'firmware'],
  pcr9: ['uki', 'initrd', 'append'],
  pcr11: ['uki'],
  pcr12: ['uki', 'append', 'disk', 'argv'],
  pcr13: ['disk'],
  rtmr0: ['firmware', 'memory', 'variables', 'vcpus', 'qemu', 'argv'],
  rtmr1: ['kernel', 'uki', 'disk', 'qemu', 'firmware'],
  rtmr2: ['append', 'initrd', 'uki', 'kernel'],
}

/** What versions of QEMU changed, and where it shows. Its own release notes and git history. */
const QEMU_CHANGES = [
  {
    since: [10, 2],
    register: 'rtmr1',
    type: 'EV_EFI_BOOT_SERVICES_APPLICATION',
    because: 'the kernel setup header is no longer rewritten',
  },
] as const

export function eventDifferences(
  a: MeasuredDocument,
  b: MeasuredDocument,
  changed: ChangedInputs,
): readonly Difference[] {
  if (a.events === undefined || b.events === undefined) return []
  const [left, right] = [byRegister(a.events), byRegister(b.events)]
  return [...new Set([...left.keys(), ...right.keys()])].sort(byNumber).flatMap((register) => {
    const causes = causesAmong(REGISTER_INPUTS[register] ?? [], changed)
    return aligned(left.get(register) ?? [], right.get(register) ?? []).map((pair) => {
      const because = reason(pair, a, b)
      return { ...pairDifference(register, pair), causes, ...(because !== undefined && { because }) }
    })
  })
}

function byRegister(events: readonly MeasuredEvent[]): ReadonlyMap<string, readonly MeasuredEvent[]> {
  return Map.groupBy(events, ({ register }) => register)
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

/** Positions count from 0 in the register's own events. */
interface Pair {
  readonly a: { readonly at: number; readonly event: MeasuredEvent } | undefined
  readonly b: { readonly at: number; readonly event: MeasuredEvent } | undefined
}

/** The longest list that is aligned event by event; longer ones are compared by position. */
const MAX_ALIGNED = 1500

/** What is left after a longest common subsequence; runs of leftovers on both sides are changes of one another. */
function aligned(a: readonly MeasuredEvent[], b: readonly MeasuredEvent[]): readonly Pair[] {
  const same = Math.max(a.length, b.length) > MAX_ALIGNED ? commonByPosition(a, b) : commonEvents(a, b)
  const borders = [...same, { a: a.length, b: b.length }]
  let [fromA, fromB] = [0, 0]
  return borders.flatMap((border) => {
    const count = Math.max(border.a - fromA, border.b - fromB)
    const item = (events: readonly MeasuredEvent[], at: number, limit: number) => {
      const event = events[at]
      return at < limit && event ? { at, event } : undefined
    }
    const pairs = Array.from({ length: count }, (_, index) => ({
      a: item(a, fromA + index, border.a),
      b: item(b, fromB + index, border.b),
    }))
    fromA = border.a + 1
    fromB = border.b + 1
    return pairs
  })
}

interface Common {
  readonly a: number
  readonly b: number
}

function commonByPosition(a: readonly MeasuredEvent[], b: readonly MeasuredEvent[]): readonly Common[] {
  return a.flatMap((event, at) => {
    const other = b[at]
    return other && isSame(event, other) ? [{ a: at, b: at }] : []
  })
}

/** Longest common subsequence by its table of lengths. */
function commonEvents(a: readonly MeasuredEvent[], b: readonly MeasuredEvent[]): readonly Common[] {
  const width = b.length + 1
  const lengths = new Uint16Array((a.length + 1) * width)
  const length = (i: number, j: number) => lengths[i * width + j] ?? 0
  const matches = (i: number, j: number) => {
    const [left, right] = [a[i], b[j]]
    return left !== undefined && right !== undefined && isSame(left, right)
  }
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] = matches(i, j)
        ? length(i + 1, j + 1) + 1
        : Math.max(length(i + 1, j), length(i, j + 1))
  const common: Common[] = []
  for (let [i, j] = [0, 0]; i < a.length && j < b.length; ) {
    if (matches(i, j)) common.push({ a: i++, b: j++ })
    else if (length(i + 1, j) >= length(i, j + 1)) i++
    else j++
  }
  return common
}

/**
 * The digests decide, in the algorithms that both have; what an event says of itself is not measured. An event without
 * any is one that a prediction could not know: it is taken for whatever of its type stands there.
 */
function isSame(a: MeasuredEvent, b: MeasuredEvent): boolean {
  const [namesA, namesB] = [Object.keys(a.digests), Object.keys(b.digests)]
  if (namesA.length === 0 || namesB.length === 0) return a.type === b.type
  const algorithms = namesA.filter((name) => name in b.digests)
  return algorithms.length > 0 && algorithms.every((name) => a.digests[name] === b.digests[name])
}

function pairDifference(register: string, { a, b }: Pair): Pick<Difference, 'where' | 'what'> {
  const at = a && b && a.at !== b.at ? `${a.at} (B: ${b.at})` : `${(a ?? b)?.at}`
  const where = `${register} event ${at}`
  if (!a || !b) return { where, what: `${titleOf((a ?? b)?.event)} only in ${a ? 'A' : 'B'}` }
  const [titleA, titleB] = [titleOf(a.event), titleOf(b.event)]
  if (titleA !== titleB) return { where, what: `${titleA} against ${titleB}` }
  return { where, what: `${titleA}: ${digestOf(a.event, b.event)}` }
}

function titleOf(event: MeasuredEvent | undefined): string {
  return event ? shown(event.description ? `${event.type} ${event.description}` : event.type) : ''
}

function digestOf(a: MeasuredEvent, b: MeasuredEvent): string {
  const algorithm = Object.keys(a.digests).find((name) => name in b.digests)
  if (algorithm === undefined) return 'no digest algorithm in common'
  return `${a.digests[algorithm]} against ${b.digests[algorithm]} (${algorithm})`
}

function reason({ a, b }: Pair, left: MeasuredDocument, right: MeasuredDocument): string | undefined {
  const [versionA, versionB] = [versionOf(left.inputs?.qemu), versionOf(right.inputs?.qemu)]
  if (!a || !b || !versionA || !versionB) return undefined
  const [older, newer] = compare(versionA, versionB) <= 0 ? [versionA, versionB] : [versionB, versionA]
  return QEMU_CHANGES.find(
    ({ since, register, type }) =>
      register === a.event.register &&
      type === a.event.type &&
      compare(older, since) < 0 &&
      compare(newer, since) >= 0,
  )?.because
}

function versionOf(text: string | undefined): readonly number[] | undefined {
  const numbers = /^(\d{1,3})[.](\d{1,3})/.exec(text ?? '')
  return numbers?.slice(1).map(Number)
}

function compare(a: readonly number[], b: readonly number[]): number {
  return (a[0] ?? 0) - (b[0] ?? 0) || (a[1] ?? 0) - (b[1] ?? 0)
}
