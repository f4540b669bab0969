/** A rehearsal as the document that `predict` and `diff` share. */
import { sha256Hex } from '../base/digest.ts'
import type { InputName, MeasuredDocument, MeasuredPages } from '../measure/documents/document.ts'
import { namedRegisters } from '../measure/sev/vmsa.ts'
import { hexadecimal, type Launch, PAGE_SIZE, type RecordedPages } from './launch.ts'

export interface RehearsalDocument extends MeasuredDocument {
  /** The digest that is computed from the materials alone, in hex. */
  readonly predicted: string
  /** Whether it is that of the rehearsal. */
  readonly agree: boolean
  /** What else the owner's evidence will show. */
  readonly fields: Readonly<Record<string, string>>
}

export interface RehearsalDocumentOptions {
  readonly inputs: Readonly<Partial<Record<InputName, string>>>
  readonly predicted: Uint8Array
  /** `each`: every page on its own. */
  readonly pages?: 'regions' | 'each'
}

export function rehearsalDocument(
  { technology, digest, pages, fields }: Launch,
  { inputs, predicted, pages: detail = 'regions' }: RehearsalDocumentOptions,
): RehearsalDocument {
  const value = digest.toString('hex')
  return {
    ...{ kind: 'rehearsal', platform: technology, inputs },
    ...(technology === 'tdx' ? { mrtd: value } : { launchDigest: value }),
    ...{ predicted: Buffer.from(predicted).toString('hex'), agree: digest.equals(predicted), fields },
    pages: withCounts(detail === 'each' ? pages.flatMap(eachPage) : pages),
  }
}

/** What was measured, in the terms of a prediction. */
export function rehearsalPages({ pages }: Launch): readonly MeasuredPages[] {
  return withCounts(pages)
}

function eachPage(range: RecordedPages): readonly RecordedPages[] {
  const { gpa, type, contents } = range
  if (gpa === undefined || contents.length <= PAGE_SIZE) return [range]
  return Array.from({ length: contents.length / PAGE_SIZE }, (_, index) => ({
    gpa: gpa + BigInt(index * PAGE_SIZE),
    type,
    contents: contents.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE),
  }))
}

/** Equal VMSAs in a row are one entry with a count, as in a prediction. */
function withCounts(pages: readonly RecordedPages[]): readonly MeasuredPages[] {
  const runs: { readonly first: RecordedPages; count: number }[] = []
  for (const page of pages) {
    const last = runs.at(-1)
    const repeats = page.type === 'vmsa' && last?.first.type === 'vmsa'
    if (last && repeats && Buffer.from(last.first.contents).equals(page.contents)) last.count += 1
    else runs.push({ first: page, count: 1 })
  }
  return runs.map(({ first, count }) => ({ ...documented(first), ...(count > 1 && { count }) }))
}

/** Contents that are not measured (a zero page, a page of secrets, memory only added) have no digest here. */
const MEASURED_WITH_CONTENTS = new Set(['normal', 'vmsa', 'extended'])

function documented({ gpa = 0n, type, contents }: RecordedPages): MeasuredPages {
  return {
    ...{ gpa: hexadecimal(gpa), size: contents.length, type },
    ...(MEASURED_WITH_CONTENTS.has(type) && { sha256: sha256Hex(contents) }),
    ...(type === 'vmsa' && { registers: namedRegisters(contents) }),
  }
}
