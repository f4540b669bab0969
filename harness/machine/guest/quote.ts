import { UsageError } from '../../base/errors.ts'

/** `word` as one POSIX shell word that means exactly itself. UsageError 'bad-value' for a NUL, which no argument can hold. */
export function quoteWord(word: string): string {
  if (word.includes('\0')) {
    throw new UsageError(`an argument of a guest command holds a NUL: ${JSON.stringify(word.slice(0, 60))}`, {
      code: 'bad-value',
    })
  }
  return `'${word.replaceAll("'", `'\\''`)}'`
}

/** A shell script that runs `argv` as a program: `exec` passes over functions and built-in commands of that name. */
export function execScript(argv: readonly string[]): string {
  if (argv.length === 0)
    throw new UsageError('a guest command needs at least a program', { code: 'bad-value' })
  return `exec ${argv.map(quoteWord).join(' ')}`
}
