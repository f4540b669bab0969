import { FormatError } from '../base/errors.ts'

/** The error for a recording whose launch cannot have worked, or stops before its digest is final. */
export function badLaunch(field: string, problem: string): FormatError {
  return new FormatError(`cannot read the recorded launch: ${field} ${problem}`, {
    code: 'bad-value',
    field,
    offset: 0,
  })
}
