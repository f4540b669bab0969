/** Values of flags: checked where they are read, so that a wrong one names its flag. */
import { InvalidArgumentError } from 'commander'

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

export function jobCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > MAX_JOBS)
    throw new InvalidArgumentError(`"${text}" is no whole number from 1 to ${MAX_JOBS}.`)
  return count
}
