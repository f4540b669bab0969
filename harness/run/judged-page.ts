/** Evidence with what became of it, for the record: the verdict first, then what it says and what vouches for it. */
import type { Finding } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import type { EvidenceText } from './events.ts'

export interface Judged {
  readonly authentic: boolean
  readonly acceptable: boolean
  readonly findings: readonly Finding[]
}

/** What a guest can make long must not fill the stream of events. */
const MOST_FINDINGS = 64
const LONGEST_TEXT = 1000

/** `by`: whose verdict it is, and by what. */
export function judgedPage(page: EvidenceText, judged: Judged, by: string): EvidenceText {
  const { authentic, acceptable, findings } = judged
  const verdict = !authentic ? 'not authentic' : acceptable ? 'acceptable' : 'authentic, not acceptable'
  const rows = findings.slice(0, MOST_FINDINGS).map(({ code, message, expected, got }) => ({
    ...{ label: code, value: safe(message), note: `expected ${safe(expected)}, got ${safe(got)}` },
  }))
  const more = findings.length - rows.length
  // A list that ends without a word is taken for the whole.
  const rest = more > 0 ? [{ label: '…', value: `${more} more finding${more === 1 ? '' : 's'}` }] : []
  return {
    ...page,
    title: `${page.title}: ${verdict}`,
    says: [{ title: 'Verdict', rows: [{ label: by, value: verdict }, ...rows, ...rest] }, ...page.says],
  }
}

function safe(text: string): string {
  const shown = text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text
  return escapeControls(shown)
}
