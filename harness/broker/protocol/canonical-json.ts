/** RFC 8785: the one text of a JSON value that both ends hash. */
import { FormatError } from '../../base/errors.ts'

/** Deeper than any runtime data; what was parsed from a client has been checked for depth before. */
const MAX_DEPTH = 16

/** Keys in the order of their UTF-16 units, no white space. Throws FormatError for what JSON cannot hold. */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > MAX_DEPTH) throw unfit(`nests deeper than ${MAX_DEPTH} levels`)
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return stringText(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw unfit('has a number that is not finite')
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map((each) => canonicalJson(each, depth + 1)).join(',')}]`
  if (typeof value !== 'object') throw unfit(`has a ${typeof value}`)
  const members = Object.entries(value)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, member]) => `${stringText(key)}:${canonicalJson(member, depth + 1)}`)
  return `{${members.join(',')}}`
}

/** A lone surrogate has no UTF-8, so two different texts would have one digest. */
function stringText(text: string): string {
  if (!text.isWellFormed()) throw unfit('has a lone surrogate')
  return JSON.stringify(text)
}

function unfit(problem: string): FormatError {
  return new FormatError(`cannot write canonical JSON: the value ${problem}`, {
    ...{ code: 'bad-value', field: 'value', offset: 0 },
  })
}
