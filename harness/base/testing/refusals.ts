import type { Test } from 'tap'
import { type FormatCode, FormatError } from '../errors.ts'

/** What every codec's tests ask: bad bytes end in a FormatError of the right kind, and in nothing else. */

/** Returns the error, for what else is to be said about it. */
export function refuses(t: Test, parse: () => unknown, code: FormatCode, field?: string): unknown {
  const error = failureOf(parse)
  t.ok(error instanceof FormatError, `FormatError ${code}: ${error}`)
  t.match(error, field === undefined ? { code } : { code, field })
  return error
}

/** Every shorter input must be refused; never another error, never an answer. */
export function refusesTruncation(t: Test, bytes: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  const wrong: string[] = []
  for (let length = 0; length < bytes.length; length++) {
    const error = failureOf(() => parse(bytes.subarray(0, length)))
    if (!(error instanceof FormatError))
      wrong.push(`${length} of ${bytes.length} bytes: ${error ?? 'accepted'}`)
  }
  t.strictSame(wrong, [], 'every truncation is refused')
}

/** With any byte changed there is an answer or a FormatError, and nothing else. */
export function survivesChangedBytes(
  t: Test,
  bytes: Uint8Array,
  parse: (bytes: Uint8Array) => unknown,
): void {
  const wrong: string[] = []
  const changed = Uint8Array.from(bytes)
  for (let at = 0; at < bytes.length; at++) {
    const original = bytes[at] ?? 0
    for (const mask of [0x01, 0x80, 0xff]) {
      changed[at] = original ^ mask
      const error = failureOf(() => parse(changed))
      if (error !== undefined && !(error instanceof FormatError)) wrong.push(`byte ${at} ^ ${mask}: ${error}`)
    }
    changed[at] = original
  }
  t.strictSame(wrong, [], 'no changed byte leads to another error')
}

function failureOf(action: () => unknown): unknown {
  try {
    action()
    return undefined
  } catch (error) {
    return error
  }
}
