/** Values of flags: checked where they are read, so that a wrong one names its flag. */
import { InvalidArgumentError, Option } from 'commander'

/** A flag that takes `a,b` and may be given again. */
export function listOf<Value extends string>(
  allowed: readonly Value[],
): (text: string, previous: readonly Value[] | undefined) => readonly Value[] {
  return (text, previous = []) => {
    const values = text.split(',').map((part) => part.trim())
    const isAllowed = (value: string): value is Value => (allowed as readonly string[]).includes(value)
    const wrong = values.find((value) => !isAllowed(value))
    if (wrong !== undefined) throw new InvalidArgumentError(`"${wrong}" is none of ${allowed.join(', ')}.`)
    return [...new Set([...previous, ...values.filter(isAllowed)])]
  }
}

/** A flag whose values are checked later, by what knows them; `a,b` and repetition as in `listOf`. */
export function names(text: string, previous: readonly string[] = []): readonly string[] {
  return [...new Set([...previous, ...text.split(',').filter((part) => part !== '')])]
}

const MAX_JOBS = 1024

export const jobCount = wholeNumber(1, MAX_JOBS)

/** A flag that takes a whole number within bounds. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+$/.test(text) && number >= least && number <= most) return number
    throw new InvalidArgumentError(`"${text}" is no whole number from ${least} to ${most}.`)
  }
}

/** `12`: the first twelve. `13-24`: those at these places. */
const MOST_STATES = 1e6

export function stateRange(text: string): { readonly first: number; readonly last: number } {
  const [, first, last] = /^(?=\d)(?:(\d{1,7})-)?(\d{1,7})?$/.exec(text) ?? []
  const range = { first: Number(first ?? 1), last: Number(last ?? (first && MOST_STATES)) }
  if (range.first >= 1 && range.last >= range.first && range.last <= MOST_STATES) return range
  throw new InvalidArgumentError(
    `"${text}" is no whole number from 1 to ${MOST_STATES}, and no range such as 13-24 or 25-.`,
  )
}

/** What `orderOf` of the power cuts gives. */
export function stateOrder(text: string): string {
  if (/^[0-9a-f]{8}$/.test(text)) return text
  throw new InvalidArgumentError(`"${text}" is no order of states such as f62a05c2.`)
}

const TOOLS = ['tree', 'host'] as const

export function toolsOption(): Option {
  return new Option(
    '--tools <from>',
    'QEMU and the rest from the tools tree or the host (default: as set up)',
  ).choices(TOOLS)
}
