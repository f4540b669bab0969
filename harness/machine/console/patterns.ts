import { UsageError } from '../../base/errors.ts'
import { asksForLineFeed, requiredLiterals } from './literals.ts'

/**
 * What to wait for on a console.
 *
 * A string matches wherever its bytes appear, at once, and may hold line feeds. A RegExp sees one line at a time,
 * without its line feed: it is decided when the line is complete, or for the last, unfinished line (a prompt) when
 * the console has been quiet for a moment. `^` and `$` are the ends of the line.
 */
export type Pattern = string | RegExp | { readonly name: string; readonly match: string | RegExp }

export interface CompiledPattern {
  readonly name: string
  /** Any of these must be in the text before the pattern can match; none: it is tried on every line. */
  readonly needles: readonly Buffer[]
  /** The exact bytes, for a string. */
  readonly text: string | undefined
  /** For a RegExp: a copy with the flag `g`, so that a search can start in mid-line. */
  readonly regexp: RegExp | undefined
}

function compileText(text: string, name: string): CompiledPattern {
  // Line ends arrive as LF alone, see ConsoleText.
  const normalized = text.replaceAll('\r\n', '\n')
  if (normalized === '') {
    throw new UsageError(`the pattern ${JSON.stringify(name)} is empty: it would match anything`, {
      code: 'bad-value',
    })
  }
  return { name, needles: [Buffer.from(normalized)], text: normalized, regexp: undefined }
}

function compileRegExp(regexp: RegExp, name: string): CompiledPattern {
  if (asksForLineFeed(regexp)) {
    throw new UsageError(`the pattern ${regexp} asks for a line feed, but a RegExp sees one line at a time`, {
      code: 'bad-value',
      hint: 'Wait for a string where several lines matter, or for one line after the other.',
    })
  }
  const copy = new RegExp(regexp.source, `${regexp.flags.replace(/[gy]/g, '')}g`)
  const needles = (requiredLiterals(regexp) ?? []).map((literal) => Buffer.from(literal))
  return { name, needles, text: undefined, regexp: copy }
}

/** UsageError 'bad-value' for an empty string and for a RegExp that asks for a line feed. */
export function compilePattern(pattern: Pattern): CompiledPattern {
  const { name, match } =
    typeof pattern === 'string'
      ? { name: pattern, match: pattern }
      : pattern instanceof RegExp
        ? { name: String(pattern), match: pattern }
        : pattern
  return typeof match === 'string' ? compileText(match, name) : compileRegExp(match, name)
}
