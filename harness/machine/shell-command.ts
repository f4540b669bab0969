/** Characters that mean nothing to a shell, wherever they stand. */
const PLAIN = /^[A-Za-z0-9@%_+=:,./-]+$/

/** A command line for pasting into a POSIX shell: every word quoted where it needs to be, an option a line. */
export function shellCommand(argv: readonly string[]): string {
  const lines: string[] = []
  for (const word of argv) {
    const previous = lines.at(-1)
    // An option's value stays on the option's line: that is how people read QEMU's command lines.
    if (previous === undefined || word.startsWith('-')) lines.push(quoted(word))
    else lines[lines.length - 1] = `${previous} ${quoted(word)}`
  }
  return lines.join(' \\\n  ')
}

/** The same on one line. */
export function shellLine(argv: readonly string[]): string {
  return argv.map(quoted).join(' ')
}

function quoted(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
