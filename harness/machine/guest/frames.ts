import { randomBytes } from 'node:crypto'
import { sha256Hex } from '../../base/digest.ts'
import { OUTPUT_LINE } from './agent.ts'

/** Reads the agent's answers (see agent.ts) out of whatever else the console says. */

export const MARKER_LENGTH = 32
/** A piece of the marker in a line that is no answer shows that an answer was hit. */
const EVIDENCE_LENGTH = 8

export type Output = 'o' | 'e'

export interface OutputSummary {
  readonly lines: number
  /** SHA-256 of the lines, each with a line feed, as hex; `-` where there are none. */
  readonly digest: string
}

export interface Status {
  readonly exitCode: number
  readonly o: OutputSummary
  readonly e: OutputSummary
}

export type Frame =
  | { readonly kind: 'begun' | 'running' | 'cleared' }
  | { readonly kind: 'pieces'; readonly count: number }
  | { readonly kind: 'input' | 'refused'; readonly digest: string }
  | { readonly kind: 'status'; readonly status: Status }
  | { readonly kind: 'line'; readonly output: Output; readonly number: number; readonly base64: string }
  | { readonly kind: 'fetched'; readonly output: Output }
  /** An answer was here but something was printed into it. */
  | { readonly kind: 'damaged' }

/** The nonce that is typed and the marker the guest must compute from it: an echo of the one is not the other. */
export interface Framing {
  readonly nonce: string
  readonly marker: string
}

export function newFraming(): Framing {
  const nonce = randomBytes(16).toString('hex')
  return { nonce, marker: sha256Hex(nonce).slice(0, MARKER_LENGTH) }
}

/** What to look for on the console: any whole quarter of the marker. */
export function evidence(marker: string): readonly string[] {
  const pieces: string[] = []
  for (let at = 0; at < MARKER_LENGTH; at += EVIDENCE_LENGTH)
    pieces.push(marker.slice(at, at + EVIDENCE_LENGTH))
  return pieces
}

const DIGEST = '[0-9a-f]{64}'
const STATUS = new RegExp(`^(\\d{1,3}) (\\d{1,9}) (${DIGEST}|-) (\\d{1,9}) (${DIGEST}|-)$`)
const LINE = new RegExp(`^(\\d{1,9}) ([A-Za-z0-9+/=]{1,${OUTPUT_LINE}})$`)

function parseStatus(rest: string): Frame | undefined {
  const match = STATUS.exec(rest)
  if (!match) return undefined
  const [, exitCode, outLines, outDigest = '', errLines, errDigest = ''] = match
  const o = { lines: Number(outLines), digest: outDigest }
  const e = { lines: Number(errLines), digest: errDigest }
  return { kind: 'status', status: { exitCode: Number(exitCode), o, e } }
}

function parseLine(output: Output, rest: string): Frame | undefined {
  const match = LINE.exec(rest)
  if (!match) return undefined
  return { kind: 'line', output, number: Number(match[1]), base64: match[2] ?? '' }
}

function parseBody(kind: string, rest: string): Frame | undefined {
  const digest = rest.length === 64 && /^[0-9a-f]+$/.test(rest) ? rest : undefined
  switch (kind) {
    case 'K':
      return { kind: 'begun' }
    case 'X':
      return { kind: 'running' }
    case 'Q':
      return { kind: 'cleared' }
    case 'A':
      return /^\d{1,9}$/.test(rest) ? { kind: 'pieces', count: Number(rest) } : undefined
    case 'I':
      return digest === undefined ? undefined : { kind: 'input', digest }
    case 'R':
      return digest === undefined ? undefined : { kind: 'refused', digest }
    case 'S':
      return parseStatus(rest)
    case 'F':
      return rest === 'o' || rest === 'e' ? { kind: 'fetched', output: rest } : undefined
    case 'o':
    case 'e':
      return parseLine(kind, rest)
    default:
      return undefined
  }
}

/** A line that holds a piece of the marker. Only a whole answer, alone on its line, is one. */
export function parseFrame(line: string, marker: string): Frame {
  const damaged: Frame = { kind: 'damaged' }
  if (!line.startsWith(`${marker} `) || !line.endsWith(' .')) return damaged
  const body = line.slice(MARKER_LENGTH + 1, -2)
  return parseBody(body.slice(0, 1), body.slice(2)) ?? damaged
}

/** The lines of one output, gathered over as many attempts as it takes. */
export class OutputLines {
  readonly #summary: OutputSummary
  readonly #lines: (string | undefined)[]
  #missing: number

  constructor(summary: OutputSummary) {
    this.#summary = summary
    this.#lines = new Array(summary.lines).fill(undefined)
    this.#missing = summary.lines
  }

  get missing(): number {
    return this.#missing
  }

  /** Keeps a line, numbered from 1; false where it cannot be one. All but the last have their full length. */
  add(number: number, base64: string): boolean {
    if (number < 1 || number > this.#lines.length) return false
    if (number < this.#lines.length && base64.length !== OUTPUT_LINE) return false
    if (this.#lines[number - 1] === undefined) this.#missing -= 1
    this.#lines[number - 1] = base64
    return true
  }

  /** sed commands that print missing lines, as many as fit into `longest` characters. */
  missingRanges(longest: number): string {
    let ranges = ''
    for (let first = 0; first < this.#lines.length; first++) {
      if (this.#lines[first] !== undefined) continue
      let last = first
      while (last + 1 < this.#lines.length && this.#lines[last + 1] === undefined) last += 1
      const range = `${ranges === '' ? '' : ';'}${first + 1},${last + 1}p`
      if (ranges.length + range.length > longest) break
      ranges += range
      first = last
    }
    return ranges
  }

  /** The bytes, or undefined where the lines are not those the guest digested: then all are missing again. */
  bytes(): Buffer | undefined {
    if (this.#lines.length === 0) return Buffer.alloc(0)
    const text = this.#lines.map((line) => `${line}\n`).join('')
    if (sha256Hex(text) === this.#summary.digest) return Buffer.from(text, 'base64')
    this.#lines.fill(undefined)
    this.#missing = this.#lines.length
    return undefined
  }
}
