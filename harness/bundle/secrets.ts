/** What a bundle must not carry unless it is asked for by name: how each kind looks in bytes. */
import { homedir, hostname, userInfo } from 'node:os'

export const SECRET_KINDS = [
  /** Blocks in PEM, whole or cut off. */
  'private-key',
  /** systemd's form: eight groups of eight modhex letters. */
  'recovery-key',
  /** What stands behind `password=` and the like. */
  'passphrase',
  /** Bearer tokens, JWTs, keys of well-known services, passwords in URLs. */
  'token',
  /** What a TPM's commands and answers carry behind their headers, in the log of a vTPM. */
  'tpm-payload',
  'home-path',
  'host-name',
  'user-name',
] as const
export type SecretKind = (typeof SECRET_KINDS)[number]

export interface Span {
  readonly start: number
  /** Behind its last byte. */
  readonly end: number
}

export interface SecretPattern {
  readonly kind: SecretKind
  /** In `text`, in which one character is one byte. */
  readonly find: (text: string) => readonly Span[]
}

/** Longer than any match: what is searched in pieces overlaps by as much. */
export const LONGEST_SECRET = 32 * 1024

/** This host as its texts may name it. */
export interface HostNames {
  readonly home: string
  readonly host: string
  readonly user: string
}

export function ownNames(): HostNames {
  return { home: homedir(), host: hostname(), user: userInfo().username }
}

export function secretPatterns({ home, host, user }: HostNames): readonly SecretPattern[] {
  return [
    { kind: 'private-key', find: privateKeys },
    { kind: 'recovery-key', find: matches(RECOVERY_KEY) },
    { kind: 'passphrase', find: matches(PASSPHRASE, 1) },
    { kind: 'token', find: (text) => TOKENS.flatMap((pattern) => matches(pattern, 1)(text)) },
    { kind: 'tpm-payload', find: tpmPayloads },
    { kind: 'home-path', find: (text) => [...words(text, home, PATH_PART), ...matches(HOMES, 1)(text)] },
    { kind: 'host-name', find: (text) => (isTelling(host) ? words(text, host, NAME_PART) : []) },
    { kind: 'user-name', find: (text) => (isTelling(user) ? words(text, user, NAME_PART) : []) },
  ]
}

const RECOVERY_KEY = /(?:(?<!\w)|(?<=\\[nrt]))[cbdefghijklnrtuv]{8}(?:-[cbdefghijklnrtuv]{8}){7}(?![a-z])/dg

/** JSON in JSON has its quotes escaped, and its ends of lines: a word can begin behind `\\n`. What is plainly no secret is left, and so is JSON's own syntax. */
const PASSPHRASE =
  /(?:(?<!\w)|(?<=\\[nrt]))(?:pass(?:word|phrase|wd|code)|pin|(?:api|luks|volume|disk|secret)[_-]?key|secret|token)\\{0,7}["']?[ \t]{0,4}[=:][ \t]{0,4}\\{0,7}["']?(?!true\b|false\b|null\b|\d{1,4}\b)([^\s"'\\,;{}[\]<>*]{4,512})/dgi

const TOKENS = [
  /(?:(?<!\w)|(?<=\\[nrt]))(eyJ[\w-]{8,4096}\.[\w-]{8,8192}(?:\.[\w-]{0,4096})?)/dg,
  /(?:(?<!\w)|(?<=\\[nrt]))((?:gh[pousr]_|github_pat_|glpat-|npm_|xox[abeprs]-|sk-|AGE-SECRET-KEY-)[\w-]{16,512})/dg,
  /(?:(?<!\w)|(?<=\\[nrt]))((?:AKIA|ASIA)[0-9A-Z]{16})\b/dg,
  /(?:(?<!\w)|(?<=\\[nrt]))(?:bearer|basic)[ \t]{1,4}([\w+/.~=-]{16,4096})/dgi,
  /:\/\/[^\s/@:"]{0,64}:([^\s/@"]{1,256})@/dg,
]

/** Other people's: a path in a text need not be of this host. */
const HOMES = /\/(?:home|Users)\/([A-Za-z_][\w.-]{0,63})/dg

function matches(pattern: RegExp, group = 0): (text: string) => readonly Span[] {
  return (text) =>
    [...text.matchAll(pattern)].flatMap(({ indices }) => {
      const [start, end] = indices?.[group] ?? []
      return start === undefined || end === undefined ? [] : [{ start, end }]
    })
}

const KEY_BEGIN = '-----BEGIN '
/** Its label, then whatever a key in PEM, in JSON or on a console may consist of; never backtracks. */
const KEY_BLOCK =
  /-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:[\w+/=\s:,.()\x1b[;-]|\\{1,3}[nrt]){0,16384}/y
const KEY_END = '-----END '

/** Up to its end; one that is cut off up to the first thing that cannot be of it. */
function privateKeys(text: string): readonly Span[] {
  const found: Span[] = []
  for (let start = text.indexOf(KEY_BEGIN); start >= 0; ) {
    KEY_BLOCK.lastIndex = start
    const block = KEY_BLOCK.exec(text)?.[0]
    const closing = block?.indexOf(KEY_END) ?? -1
    const last = block && closing >= 0 ? block.indexOf('-----', closing + KEY_END.length) : -1
    const end = start + (last >= 0 ? last + 5 : (block?.length ?? KEY_BEGIN.length))
    if (block) found.push({ start, end })
    start = text.indexOf(KEY_BEGIN, end)
  }
  return found
}

/** A frame of swtpm's log: its length, then lines of bytes in hex, the first 10 of which are the header. */
const FRAME =
  / SWTPM_IO_(?:Read|Write): length \d{1,6}(?:\r?\n|\\{1,3}n)(?:[0-9A-F]{2}| |\r|\n|\\{1,3}[nr])+/dg
const HEADER_BYTES = 10

/** Tag, size and code stay: they say which command it was and how it was answered. */
function tpmPayloads(text: string): readonly Span[] {
  if (!text.includes('SWTPM_IO_')) return []
  return [...text.matchAll(FRAME)].flatMap(({ 0: frame, index }) => {
    const body = frame.search(/[\r\n\\]/)
    const pairs = [...frame.slice(body).matchAll(/[0-9A-F]{2}/g)].slice(HEADER_BYTES)
    return pairs.map((pair) => ({ start: index + body + pair.index, end: index + body + pair.index + 2 }))
  })
}

/** The end of an escaped line in JSON, where a word can begin. */
const ESCAPE = /\\[nrt]/
const PATH_PART = /[\w.-]/
const NAME_PART = /[\w-]/
/** Names that half of all texts about VMs have in them: masked, they would only make the text unreadable. */
const COMMON = new Set(['root', 'user', 'localhost', 'debian', 'guest', 'host', 'test', 'admin', 'none'])
const SHORTEST_NAME = 3

function isTelling(name: string): boolean {
  return name.length >= SHORTEST_NAME && !COMMON.has(name.toLowerCase())
}

/** Where `word` stands by itself. A search for a text, not a pattern: nobody's name becomes a regular expression. */
function words(text: string, word: string, part: RegExp): readonly Span[] {
  const found: Span[] = []
  if (word.length < 2) return found
  for (let start = text.indexOf(word); start >= 0; start = text.indexOf(word, start + word.length)) {
    const end = start + word.length
    const isFirst =
      !part.test(text[start - 1] ?? ' ') || ESCAPE.test(text.slice(Math.max(0, start - 2), start))
    const isWhole = isFirst && !part.test(text[end] ?? ' ')
    if (isWhole) found.push({ start, end })
  }
  return found
}
