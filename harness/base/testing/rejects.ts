/** How a test says that something must be refused: by class and code, never by its message. */
import type { Test } from 'tap'
import { type FormatCode, FormatError, type VerifyCode, VerifyError } from '../errors.ts'

export interface ExpectedFormatError {
  readonly code?: FormatCode
  readonly field?: string
  readonly offset?: number
}

/** Fails where `parse` returns, or throws anything but a FormatError that has what is expected. */
export function refusesToParse(
  t: Test,
  parse: () => unknown,
  expected: ExpectedFormatError,
  name = '',
): void {
  try {
    parse()
  } catch (error) {
    if (!(error instanceof FormatError)) return void t.fail(`${name}: ${String(error)}`)
    const { code, field, offset } = error
    t.match({ code, field, offset }, expected, `${name} ${error.message}`)
    return
  }
  t.fail(`${name}: accepted, a FormatError ${JSON.stringify(expected)} is required`)
}

/** Every shorter input is a FormatError: never an answer, never a crash. One assertion for all. */
export function refusesTruncation(
  t: Test,
  bytes: Uint8Array,
  parse: (bytes: Uint8Array) => unknown,
  name = 'every truncation is refused',
): void {
  const wrong: string[] = []
  for (let length = 0; length < bytes.length; length++) {
    const outcome = outcomeOf(() => parse(bytes.subarray(0, length)))
    if (!(outcome instanceof FormatError)) wrong.push(`${length} bytes: ${String(outcome)}`)
  }
  t.strictSame(wrong, [], name)
}

/** Fails where `verify` returns, or throws anything but a VerifyError with this code. */
export function refusesToVerify(t: Test, verify: () => unknown, code: VerifyCode, name: string = code): void {
  const outcome = outcomeOf(verify)
  if (!(outcome instanceof VerifyError))
    return void t.fail(
      `${name}: ${outcome instanceof Error ? String(outcome) : 'accepted'}, ${code} is required`,
    )
  t.equal(outcome.code, code, `${name}: ${outcome.message}`)
  t.ok(
    outcome.expected.length > 0 && outcome.got.length > 0,
    `${name}: says what was expected and what it got`,
  )
}

/** What was thrown, or 'accepted'. */
export function outcomeOf(run: () => unknown): unknown {
  try {
    run()
    return 'accepted'
  } catch (error) {
    return error
  }
}
