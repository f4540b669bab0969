import { FormatError } from '../base/errors.ts'

/**
 * JSON (RFC 8259) of untrusted origin, read strictly and with the exact bytes of every value at hand: a signature over
 * a value covers its text as it was sent, not what a serializer makes of it.
 */

/**
 * What a document may have at most. In bytes of UTF-8, and in levels of nesting; RFC 8259, 9, lets a parser set them.
 */
export interface JsonLimits {
  /** What is being parsed, for messages: "TCB info". */
  readonly what: string
  readonly maxBytes: number
  /** Containers within each other; the outermost counts as 1. */
  readonly maxDepth: number
}

/**
 * A JSON value and the text it was written as. UTF-8 is checked when the document is parsed, so the text of a part
 * encodes to exactly the bytes it came from. RFC 8259. `parse` throws FormatError: `too-large` above a limit,
 * `bad-value` else, with the offset in bytes.
 */
export class JsonText {
  readonly text: string
  readonly value: unknown
  readonly what: string

  private constructor(text: string, value: unknown, what: string) {
    this.text = text
    this.value = value
    this.what = what
  }

  /**
   * Throws FormatError: 'too-large' above a limit, 'bad-value' for what is not UTF-8 or not JSON, and for an object
   * that has a key twice, escaped or not: readers disagree about which of the two counts.
   */
  static parse(input: Uint8Array | string, limits: JsonLimits): JsonText {
    const { what, maxBytes } = limits
    if (input.length > maxBytes) {
      throw failure(what, 'too-large', `has ${input.length} bytes, at most ${maxBytes} are read`)
    }
    const text = typeof input === 'string' ? input : decode(input, what)
    // The depth before anything else: only then may a parser see the text.
    checkStructure(text, limits)
    return new JsonText(text, parseValue(text, what), what)
  }

  /** The bytes as they were sent, without white space around them. */
  get bytes(): Buffer {
    return Buffer.from(this.text, 'utf8')
  }

  /** Members of an object, each with its own text; undefined for any other value. */
  members(): ReadonlyMap<string, JsonText> | undefined {
    const { value } = this
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    const spans = childSpans(this.text)
    return new Map(
      spans.map(({ key, start, end }) => [key, this.#part(start, end, Reflect.get(value, key) as unknown)]),
    )
  }

  /** Elements of an array; undefined for any other value. */
  elements(): readonly JsonText[] | undefined {
    const { value } = this
    if (!Array.isArray(value)) return undefined
    if (value.length === 0) return []
    return childSpans(this.text).map(({ start, end }, index) => this.#part(start, end, value[index]))
  }

  #part(start: number, end: number, value: unknown): JsonText {
    return new JsonText(this.text.slice(start, end), value, this.what)
  }
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    // A byte order mark is kept, so that it is refused as what it is: no JSON.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw failure(what, 'bad-value', 'is not UTF-8', 0, cause)
  }
}

function parseValue(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    // V8's message quotes the input: it stays in the cause.
    throw failure(what, 'bad-value', 'is not JSON', 0, cause)
  }
}

const CHARACTER = {
  quote: 0x22,
  comma: 0x2c,
  colon: 0x3a,
  backslash: 0x5c,
  openBracket: 0x5b,
  closeBracket: 0x5d,
  openBrace: 0x7b,
  closeBrace: 0x7d,
} as const

/** Position after the string that starts at `start`; undefined where it does not end. */
function stringEnd(text: string, start: number): number | undefined {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text.charCodeAt(at - 1 - backslashes) === CHARACTER.backslash) backslashes += 1
    if (backslashes % 2 === 0) return at + 1
  }
  return undefined
}

/** Depth and duplicate keys. What is not JSON at all may pass: that is for JSON.parse to say. */
function checkStructure(text: string, { what, maxDepth }: JsonLimits): void {
  /** Keys of each open object; undefined for an array. */
  const open: (Set<string> | undefined)[] = []
  let keyNext = false
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case CHARACTER.quote: {
        const end = stringEnd(text, at)
        if (end === undefined) throw failure(what, 'truncated', 'has a string without an end', at)
        if (keyNext) addKey(open.at(-1), text.slice(at, end), { what, at })
        keyNext = false
        at = end - 1
        break
      }
      case CHARACTER.openBrace:
      case CHARACTER.openBracket:
        keyNext = text.charCodeAt(at) === CHARACTER.openBrace
        open.push(keyNext ? new Set() : undefined)
        if (open.length > maxDepth) {
          throw failure(what, 'too-large', `nests deeper than ${maxDepth} levels`, at)
        }
        break
      case CHARACTER.closeBrace:
      case CHARACTER.closeBracket:
        open.pop()
        keyNext = false
        break
      case CHARACTER.comma:
        keyNext = open.at(-1) !== undefined
        break
    }
  }
}

function addKey(
  keys: Set<string> | undefined,
  token: string,
  { what, at }: { what: string; at: number },
): void {
  const key = token.includes('\\') ? String(parseValue(token, what)) : token.slice(1, -1)
  if (keys?.has(key)) throw failure(what, 'bad-value', 'has the same key twice in one object', at)
  keys?.add(key)
}

interface Span {
  /** Empty for the elements of an array. */
  readonly key: string
  readonly start: number
  readonly end: number
}

/** Spans of the direct children of the container that `text` is: checked JSON, so only its structure is looked at. */
function childSpans(text: string): readonly Span[] {
  const spans: Span[] = []
  const isObject = text.trimStart().startsWith('{')
  let depth = 0
  let key: string | undefined
  let start = 0
  const close = (end: number) => {
    const written = text.slice(start, end)
    const from = start + written.length - written.trimStart().length
    if (key !== undefined || !isObject)
      spans.push({ key: key ?? '', start: from, end: from + written.trim().length })
    key = undefined
    start = end + 1
  }
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case CHARACTER.quote: {
        const end = stringEnd(text, at) ?? text.length
        if (depth === 1 && isObject && key === undefined) key = String(JSON.parse(text.slice(at, end)))
        at = end - 1
        break
      }
      case CHARACTER.openBrace:
      case CHARACTER.openBracket:
        depth += 1
        if (depth === 1) start = at + 1
        break
      case CHARACTER.closeBrace:
      case CHARACTER.closeBracket:
        if (depth === 1) close(at)
        depth -= 1
        break
      case CHARACTER.comma:
        if (depth === 1) close(at)
        break
      case CHARACTER.colon:
        if (depth === 1 && isObject) start = at + 1
        break
    }
  }
  return spans
}

function failure(
  what: string,
  code: FormatError['code'],
  problem: string,
  offset = 0,
  cause?: unknown,
): FormatError {
  const message = `cannot parse ${what} at ${offset}: the text ${problem}`
  return new FormatError(message, { code, field: what, offset, cause })
}
