/** Rules of the house that no linter knows: sizes, READMEs, and what may not be named. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { projectFiles } from './project-files.ts'

const MAX_SOURCE_LINES = 400
const MAX_README_LINES = 40
const SOURCE = /[.](ts|mjs|sh)$|^scripts\/[^.]+$/
/** Rooms; a how-to is as long as its example needs. */
const ROOM_README = /^harness\/[\w-]+\/README[.]md$/
/** Recorded or generated: judged by those who made them. */
const EXEMPT = /(^|\/)fixtures\/|^package-lock[.]json$/

/** A mirror or a package registry: where packages come from is the host's business. Reserved names are fine. */
const MIRROR =
  /https?:\/\/(deb|ftp|mirrors?|security|snapshot|registry)[.](?![\w.-]*\b(example|invalid|test)\b)[\w.-]+/

/** One line a breach, `file:line: what`; empty when the house is in order. */
export async function houseRuleBreaches(checkout: string): Promise<readonly string[]> {
  const files = await projectFiles(checkout)
  const texts = await Promise.all(
    files
      .filter((file) => !EXEMPT.test(file))
      .map(async (file) => ({ file, text: await readFile(join(checkout, file), 'utf8') })),
  )
  return [
    ...missingReadmes(files),
    ...texts.flatMap((entry) => [
      ...sizeBreaches(entry),
      ...namingBreaches(entry, checkout),
      ...undocumentedExports(entry),
    ]),
  ]
}

/** Rooms whose exports others build verifiers on: lengths, units, errors and specifications belong to each. */
const DOCUMENTED = /^harness\/(?:evidence|formats)\/(?!.*(?:testing\/|[.]test[.]ts$)).*[.]ts$/
const DECLARATION = /^export (?:async )?(function|interface|type|const|class) (\w+)/

/** By the line before: a doc comment ends there. A function's says what it throws, or that it never does. */
function undocumentedExports({ file, text }: Entry): readonly string[] {
  if (!DOCUMENTED.test(file)) return []
  const lines = text.split('\n')
  return lines.flatMap((line, index) => {
    const [, kind, name] = DECLARATION.exec(line) ?? []
    if (name === undefined) return []
    const at = `${file}:${index + 1}: ${name}`
    if (!lines[index - 1]?.endsWith('*/'))
      return [`${at} has no doc comment; it gives lengths, units, errors and the specification`]
    const comment = lines.slice(
      lines.findLastIndex((each, at) => at < index && each.includes('/**')),
      index,
    )
    if (kind !== 'function' || /throw|Error/i.test(comment.join('\n'))) return []
    return [`${at} does not say what it throws; where that is nothing, "Never throws."`]
  })
}

interface Entry {
  readonly file: string
  readonly text: string
}

function missingReadmes(files: readonly string[]): readonly string[] {
  const rooms = new Set(files.flatMap((file) => /^harness\/[\w-]+(?=\/)/.exec(file) ?? []))
  return [...rooms]
    .filter((room) => !files.includes(`${room}/README.md`))
    .map((room) => `${room}/README.md:1: is missing; it says what the room owns, what not, and how to add`)
}

function sizeBreaches({ file, text }: Entry): readonly string[] {
  const lines = text.split('\n').length - 1
  const limit = ROOM_README.test(file) ? MAX_README_LINES : SOURCE.test(file) ? MAX_SOURCE_LINES : undefined
  return limit !== undefined && lines > limit
    ? [`${file}:${limit}: has ${lines} lines, at most ${limit} are allowed`]
    : []
}

function namingBreaches({ file, text }: Entry, checkout: string): readonly string[] {
  const machinePaths = [checkout, homedir()].filter((path) => path.split('/').length > 2)
  return text.split('\n').flatMap((line, index) => {
    const at = `${file}:${index + 1}`
    const path = machinePaths.find((candidate) => line.includes(candidate))
    return [
      ...(path === undefined ? [] : [`${at}: names ${path}, a path of this machine`]),
      ...(MIRROR.test(line) ? [`${at}: names a mirror or a registry; take the host's settings`] : []),
    ]
  })
}
