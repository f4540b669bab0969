/** `attestbed diff`: what differs between two predictions, rehearsals, event logs or bills of materials, in words. */
import { FormatError, UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { INPUTS, type MeasuredDocument } from '../measure/documents/document.ts'
import { eventLogDocument } from '../measure/documents/event-log.ts'
import { readDocument } from '../measure/documents/read-document.ts'
import { differences } from '../verdict/difference/compare.ts'
import type { Difference } from '../verdict/difference/difference.ts'
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
  return first === '{' ? readDocument(parseJson(bytes, path), path) : readLog(bytes, path)
}

function parseJson(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new UsageError(
      `cannot compare ${path}: it begins like JSON and is none: ${(cause as Error).message}`,
      {
        ...{ code: 'bad-value', cause },
      },
    )
  }
}

/** Of two files, the error must say which. */
function readLog(bytes: Buffer, path: string): MeasuredDocument {
  try {
    return eventLogDocument(bytes)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    const { code, field, offset, message } = error
    throw new FormatError(`cannot compare ${path}: it is no JSON document, and as an event log: ${message}`, {
      ...{ code, field, offset, cause: error },
    })
  }
}

function sentences(found: readonly Difference[]): readonly string[] {
  if (found.length === 0) return ['nothing differs']
  return found.map(({ where, what, causes, because }) => {
    if (where.startsWith('input '))
      return escapeControls(because === undefined ? what : `${what} (${because})`)
    const from = causes.length > 0 ? ` (from ${causes.map((name) => INPUTS[name]).join(', ')})` : ''
    return escapeControls(`${where}: ${what}${from}${because === undefined ? '' : `: ${because}`}`)
  })
}
