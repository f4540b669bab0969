import { UsageError } from '../base/errors.ts'

/** Of `run` and `plan`: to say nothing would be to pass for a success. */
export function nothingSelected(): UsageError {
  return new UsageError('nothing to run: no scenario has a variant that the given flags select', {
    code: 'bad-value',
    hint: 'attestbed list shows the scenarios with their axes',
  })
}
