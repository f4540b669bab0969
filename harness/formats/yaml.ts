/** Strict YAML with positions: what users write, checked against a schema, errors as file:line:column. */
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml'
import { z } from 'zod'
import { type Position, UsageError } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'

const MAX_ALIASES = 10

/**
 * Refuses duplicate keys, unknown tags, several documents and keys that the schema does not know; names the first thing
 * that is wrong. Throws UsageError `bad-config` with its position. YAML 1.2; lines and columns count from 1.
 */
export function parseYaml<Schema extends z.ZodType>(
  text: string,
  options: { readonly file: string; readonly schema: Schema },
): z.infer<Schema> {
  return parsePlacedYaml(text, options).value
}

/** What was read, and where each value of it stands. */
export interface PlacedYaml<Value> {
  readonly value: Value
  /** Of the value at `path`; for one that is not there, of the innermost that is. */
  readonly positionOf: (path: readonly PropertyKey[]) => Position
}

/**
 * As `parseYaml`, for what has to be checked once more after the schema was satisfied. Throws UsageError `bad-config`
 * with its position. YAML 1.2.
 */
export function parsePlacedYaml<Schema extends z.ZodType>(
  text: string,
  { file, schema }: { readonly file: string; readonly schema: Schema },
): PlacedYaml<z.infer<Schema>> {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    lineCounter: lines,
    uniqueKeys: isSameKey,
    strict: true,
    prettyErrors: false,
  })
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(1, line), column: Math.max(1, col) }
  }
  const problem = document.errors[0] ?? document.warnings[0]
  if (problem)
    throw new UsageError(inWords(problem.message), { code: 'bad-config', position: at(problem.pos[0]) })
  const cycle = firstCycle(document)
  if (cycle)
    throw new UsageError(`the alias *${cycle.name} stands inside what it is an alias of`, {
      ...{ code: 'bad-config', position: at(cycle.offset) },
    })
  const parsed = schema.safeParse(plainValue(document, at(0)))
  if (parsed.success)
    return { value: parsed.data, positionOf: (path) => at(offsetOf(document.contents, path, false)) }
  const issue = mostTelling(parsed.error.issues)
  const key = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const offset = offsetOf(
    document.contents,
    key === undefined ? issue.path : [...issue.path, key],
    key !== undefined,
  )
  throw new UsageError(describe(issue, key), {
    code: 'bad-config',
    position: at(offset),
    hint: key === undefined ? undefined : suggestion(key, schema, issue.path),
  })
}

/** The parser runs out of stack, and says so by an error with a place. */
function inWords(message: string): string {
  return message.includes('call stack') ? 'is nested too deeply' : message
}

/** An alias of a node around it: a value without an end. */
function firstCycle(document: Document): { readonly name: string; readonly offset: number } | undefined {
  let found: { readonly name: string; readonly offset: number } | undefined
  visit(document, {
    Alias: (_, alias, path) => {
      const isAround = path.some((node) => isNode(node) && 'anchor' in node && node.anchor === alias.source)
      if (!isAround) return undefined
      found = { name: alias.source, offset: startOf(alias) }
      return visit.BREAK
    },
  })
  return found
}

/** As they are compared once they are read: the number 7 and the text "7" are the same key. */
function isSameKey(left: unknown, right: unknown): boolean {
  return left === right || (isScalar(left) && isScalar(right) && String(left.value) === String(right.value))
}

/** Aliases are resolved here; too many of them are an attack on memory, and one may point to nothing. */
function plainValue(document: Document, position: Position): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(message, { code: 'bad-config', position, cause })
  }
}

/** A mistyped key shows as a missing one, too: the unknown key says more. */
function mostTelling(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  return issues.find(({ code }) => code === 'unrecognized_keys') ?? deepest(issues)
}

/** In a union every alternative complains; the one that got furthest is what the user meant. */
function deepest(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const first = issues[0]
  if (first === undefined) throw new Error('a failed parse without an issue')
  if (first.code !== 'invalid_union' || first.errors.length === 0) return first
  const candidates = first.errors.filter((alternative) => alternative.length > 0)
  if (candidates.length === 0) return first
  const inner = candidates.map(deepest).sort((a, b) => b.path.length - a.path.length)[0]
  return inner && inner.path.length > 0 ? { ...inner, path: [...first.path, ...inner.path] } : first
}

function describe(issue: z.core.$ZodIssue, key: string | undefined): string {
  const where = issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''
  return key === undefined ? `${where}${issue.message}` : `${where}unknown key "${key}"`
}

function suggestion(key: string, schema: z.ZodType, path: readonly PropertyKey[]): string | undefined {
  const known = knownKeys(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), path)
  const meant = nearest(key, known)
  if (meant !== undefined) return `did you mean "${meant}"?`
  return known.length > 0 ? `known keys: ${known.join(', ')}` : undefined
}

function knownKeys(schema: unknown, path: readonly PropertyKey[]): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const node = schema as {
    properties?: Record<string, unknown>
    anyOf?: unknown[]
    oneOf?: unknown[]
    items?: unknown
  }
  const alternatives = [...(node.anyOf ?? []), ...(node.oneOf ?? [])]
  if (alternatives.length > 0) return [...new Set(alternatives.flatMap((each) => knownKeys(each, path)))]
  const [head, ...rest] = path
  if (head === undefined) return Object.keys(node.properties ?? {})
  return knownKeys(typeof head === 'number' ? node.items : node.properties?.[String(head)], rest)
}

/** Where the node at `path` starts, or its key; for what is missing, the innermost thing that is there. */
function offsetOf(root: unknown, path: readonly PropertyKey[], wantKey: boolean): number {
  let node: unknown = root
  let offset = startOf(root)
  for (const [depth, step] of path.entries()) {
    const next = child(node, step)
    if (next === undefined) return offset
    offset = wantKey && depth === path.length - 1 ? startOf(next.key) : startOf(next.value ?? next.key)
    node = next.value
  }
  return offset
}

function child(node: unknown, step: PropertyKey): { key: unknown; value: unknown } | undefined {
  if (isMap(node)) {
    const pair = node.items.find((item) => isPair(item) && String(item.key) === String(step))
    return pair && { key: pair.key, value: pair.value }
  }
  const items = isNode(node) && 'items' in node ? (node as { items: unknown[] }).items : undefined
  const item = items?.[Number(step)]
  return item === undefined ? undefined : { key: item, value: item }
}

function startOf(node: unknown): number {
  return isNode(node) ? ((node as Node).range?.[0] ?? 0) : 0
}
