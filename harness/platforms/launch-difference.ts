/** Where two lists of measured pages part, in words. */
import type { MeasuredPages } from '../measure/documents/document.ts'

/** The first difference; undefined where there is none. `predicted` and `rehearsed` are in the order of measuring. */
export function launchDifference(
  predicted: readonly MeasuredPages[],
  rehearsed: readonly MeasuredPages[],
): string | undefined {
  const [expected, got] = [each(predicted), each(rehearsed)]
  for (let index = 0; index < Math.max(expected.length, got.length); index++) {
    const [left, right] = [expected[index], got[index]]
    if (left && right && same(left, right)) continue
    if (left && (!right || follows(right, expected, index))) return `${nameOf(left)} was not measured`
    if (right && (!left || follows(left, got, index)))
      return `${nameOf(right)} was measured, but not predicted`
    if (left && right) return describeChange(left, right)
  }
  return undefined
}

/** Pages one by one, where the list has them with a count. */
function each(pages: readonly MeasuredPages[]): readonly MeasuredPages[] {
  return pages.flatMap((page) => Array.from({ length: page.count ?? 1 }, () => page))
}

function same(left: MeasuredPages, right: MeasuredPages): boolean {
  return isSamePlace(left, right) && left.sha256 === right.sha256
}

function isSamePlace(left: MeasuredPages, right: MeasuredPages): boolean {
  return left.gpa === right.gpa && left.size === right.size && left.type === right.type
}

/** Whether the list goes on with this very page right after `index`; VMSAs all lie at one place. */
function follows(page: MeasuredPages, list: readonly MeasuredPages[], index: number): boolean {
  const next = list[index + 1]
  return next !== undefined && same(page, next)
}

function describeChange(left: MeasuredPages, right: MeasuredPages): string {
  if (!isSamePlace(left, right)) return `${nameOf(right)} was measured instead of ${nameOf(left)}`
  const registers = changedRegisters(left, right)
  if (registers.length > 0) return `${nameOf(left)} differs in ${registers.join(', ')}`
  return `${nameOf(left)} has other contents`
}

function changedRegisters(left: MeasuredPages, right: MeasuredPages): readonly string[] {
  const [before = {}, after = {}] = [left.registers, right.registers]
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names].filter((name) => before[name] !== after[name])
}

function nameOf({ type, gpa, size }: MeasuredPages): string {
  return `${type} ${gpa}+0x${size.toString(16)}`
}
