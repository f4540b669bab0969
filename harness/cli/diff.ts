/** `attestbed diff`: what differs between two predictions, rehearsals, event logs or bills of materials, in words. */
import { escapeControls } from '../base/text.ts'
import { INPUTS, type MeasuredDocument } from '../measure/documents/document.ts'
import { eventLogDocument } from '../measure/documents/event-log.ts'
import { readDocument } from '../measure/documents/read-document.ts'
import { type Difference, differences } from '../verdict/difference/difference.ts'
import { FILE_LIMITS, readMaterial } from './material-files.ts'
import { writeDocument } from './output.ts'

const DIFFERENT = 1

/** Returns the exit code: 0 where nothing differs, 1 otherwise. Throws UsageError and FormatError. */
export async function diff(
  a: string,
  b: string,
  { json = false }: { readonly json?: boolean },
): Promise<number> {
  const [left, right] = await Promise.all([read(a), read(b)])
  const found = differences(left, right)
  if (json) writeDocument({ a, b, equal: found.length === 0, differences: found })
  else process.stdout.write(`${sentences(found).join('\n')}\n`)
  return found.length === 0 ? 0 : DIFFERENT
}

/** JSON begins with a brace; a log begins with the number of a register. */
async function read(path: string): Promise<MeasuredDocument> {
  const bytes = await readMaterial(path, 'document', FILE_LIMITS.document)
  const first = /\S/.exec(bytes.toString('latin1', 0, 64))?.[0]
  return first === '{' ? readDocument(parseJson(bytes), path) : eventLogDocument(bytes)
}

/** `undefined`, which no document is, where it is not JSON. */
function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

function sentences(found: readonly Difference[]): readonly string[] {
  if (found.length === 0) return ['nothing differs']
  return found.map(({ where, what, causes, because }) => {
    if (where.startsWith('input ')) return escapeControls(what)
    const from = causes.length > 0 ? ` (from ${causes.map((name) => INPUTS[name]).join(', ')})` : ''
    return escapeControls(`${where}: ${what}${from}${because === undefined ? '' : `: ${because}`}`)
  })
}
