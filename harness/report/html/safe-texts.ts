/** Texts that may come from a guest, made safe to show: nothing in them hides a part of a line or turns it around. */
import { escapeControls } from '../../base/text.ts'

/** A copy of plain data in which every text has no control but the line feed; the data is ours, and so its depth. */
export function safeTexts<Data>(data: Data): Data {
  return safe(data) as Data
}

function safe(value: unknown): unknown {
  if (typeof value === 'string') return value.split('\n').map(escapeLine).join('\n')
  if (Array.isArray(value)) return value.map(safe)
  if (typeof value !== 'object' || value === null) return value
  const copy = Object.create(null)
  for (const [key, each] of Object.entries(value)) copy[escapeLine(key)] = safe(each)
  return copy
}

function escapeLine(text: string): string {
  return escapeControls(text)
}
