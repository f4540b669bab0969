/**
 * What text must be there before a regular expression can match: with it, the expression itself runs only near
 * such text. Conservative: where the answer is not plain, there is none, and the expression runs on every line.
 */

/** Fewer bytes than this would be found on nearly every line. */
const SHORTEST = 2
const MOST_ALTERNATIVES = 16

type Literals = readonly string[]
type Atom =
  | { readonly kind: 'character'; readonly character: string }
  | { readonly kind: 'group'; readonly literals: Literals | undefined }
  | { readonly kind: 'other' }

const OTHER: Atom = { kind: 'other' }
const CONTROL_ESCAPES: Readonly<Record<string, string>> = { t: '\t' }

const shortest = (literals: Literals): number => Math.min(...literals.map((literal) => literal.length))

class Parser {
  readonly #source: string
  readonly #asciiOnly: boolean
  #at = 0

  constructor(source: string, options: { readonly asciiOnly: boolean }) {
    this.#source = source
    this.#asciiOnly = options.asciiOnly
  }

  /** Alternatives, up to `)` or the end: one literal of each branch must be usable. */
  alternatives(): Literals | undefined {
    const branches: (Literals | undefined)[] = [this.#sequence()]
    while (this.#take('|')) branches.push(this.#sequence())
    const union: string[] = []
    for (const branch of branches) {
      if (branch === undefined) return undefined
      union.push(...branch)
    }
    return union.length > MOST_ALTERNATIVES ? undefined : union
  }

  /** The best literals that one branch requires. */
  #sequence(): Literals | undefined {
    const candidates: Literals[] = []
    let run = ''
    const endRun = (): void => {
      if (run.length >= SHORTEST) candidates.push([run])
      run = ''
    }
    while (this.#at < this.#source.length && !'|)'.includes(this.#peek())) {
      const atom = this.#atom()
      const quantifier = this.#quantifier()
      if (atom.kind === 'character' && quantifier === 'once') {
        run += atom.character
        continue
      }
      if (atom.kind === 'character' && quantifier === 'some') run += atom.character
      endRun()
      if (atom.kind === 'group' && quantifier !== 'perhaps' && atom.literals) candidates.push(atom.literals)
    }
    endRun()
    return candidates.sort((a, b) => shortest(b) - shortest(a) || a.length - b.length)[0]
  }

  #atom(): Atom {
    const character = this.#next()
    if (character === '\\') return this.#escape()
    if (character === '[') return this.#class()
    if (character === '(') return this.#group()
    if (character === '.' || character === '^' || character === '$') return OTHER
    return this.#literal(character)
  }

  #literal(character: string): Atom {
    return this.#asciiOnly && character > '\x7f' ? OTHER : { kind: 'character', character }
  }

  #escape(): Atom {
    const character = this.#next()
    const control = CONTROL_ESCAPES[character]
    if (control !== undefined) return this.#literal(control)
    if (!/[0-9A-Za-z]/.test(character)) return this.#literal(character)
    if (character === 'x') this.#at += 2
    else if (character === 'c') this.#at += 1
    else if (character === 'u') this.#skipCode()
    else if (character === 'k') this.#skipPast('>')
    else if (/[pP]/.test(character) && this.#peek() === '{') this.#skipPast('}')
    else if (/[0-9]/.test(character)) while (/[0-9]/.test(this.#peek())) this.#at += 1
    return OTHER
  }

  #skipCode(): void {
    if (this.#peek() === '{') this.#skipPast('}')
    else this.#at += 4
  }

  #class(): Atom {
    for (;;) {
      const character = this.#next()
      if (character === '\\') this.#at += 1
      else if (character === ']' || character === '') return OTHER
    }
  }

  #group(): Atom {
    const opening = /^\?(?:<?[=!]|<[^>]*>|[a-z-]*:)/.exec(this.#source.slice(this.#at))?.[0] ?? ''
    this.#at += opening.length
    const literals = this.alternatives()
    this.#take(')')
    // What a lookaround needs may overlap its surroundings: nothing is concluded from it.
    return /[=!]$/.test(opening) ? OTHER : { kind: 'group', literals }
  }

  #quantifier(): 'once' | 'some' | 'perhaps' {
    const found = /^(?:[*+?]|\{(\d+)(?:,\d*)?\})\??/.exec(this.#source.slice(this.#at, this.#at + 24))
    if (found === null) return 'once'
    this.#at += found[0].length
    if (found[0].startsWith('+')) return 'some'
    return Number(found[1] ?? 0) >= 1 ? 'some' : 'perhaps'
  }

  #peek(): string {
    return this.#source[this.#at] ?? ''
  }

  #next(): string {
    const character = String.fromCodePoint(this.#source.codePointAt(this.#at) ?? 0)
    if (this.#at >= this.#source.length) return ''
    this.#at += character.length
    return character
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false
    this.#at += 1
    return true
  }

  #skipPast(character: string): void {
    const found = this.#source.indexOf(character, this.#at)
    this.#at = found < 0 ? this.#source.length : found + 1
  }
}

/**
 * Literals of which at least one is part of every match, ASCII letters in any case; undefined where none of at
 * least two characters is certain.
 */
export function requiredLiterals(regexp: RegExp): Literals | undefined {
  const { flags, source } = regexp
  // With `iu`, letters such as the Kelvin sign equal ASCII ones; with `v`, classes nest.
  if (flags.includes('v') || (flags.includes('i') && flags.includes('u'))) return undefined
  const ignoresCase = flags.includes('i') || /\(\?[a-z-]*i/.test(source)
  const literals = new Parser(source, { asciiOnly: ignoresCase }).alternatives()
  return literals?.every((literal) => literal.isWellFormed()) ? literals : undefined
}

/** Whether the expression asks for a line feed, which a line never holds. */
export function asksForLineFeed(regexp: RegExp): boolean {
  const withoutNegatedClasses = regexp.source.replace(/\[\^(?:\\.|[^\]\\])*\]/g, '')
  return /(?<!\\)(?:\\\\)*\\n/.test(withoutNegatedClasses)
}
