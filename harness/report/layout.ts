/** Lays text out in terminal columns. The text must be free of controls already, and is coloured afterwards. */
import { displayWidth } from '../base/text.ts'

const ELLIPSIS = '…'

/** `text` in at most `columns`, its start replaced by an ellipsis: names differ at their end. */
export function cutStart(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text
  let kept = ''
  for (const character of [...text].reverse()) {
    if (displayWidth(character + kept) > columns - 1) break
    kept = character + kept
  }
  return columns > 0 ? ELLIPSIS + kept : ''
}

/** `text` filled up with blanks to `columns`. */
export function pad(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - displayWidth(text)))
}

/** Lines of at most `columns`, broken at blanks, and within a word only where the word alone is too long. */
export function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/ +/)) {
    const joined = line === '' ? word : `${line} ${word}`
    if (displayWidth(joined) <= columns) {
      line = joined
      continue
    }
    if (line !== '') lines.push(line)
    const pieces = breakWord(word, columns)
    line = pieces.pop() ?? ''
    lines.push(...pieces)
  }
  return line === '' && lines.length > 0 ? lines : [...lines, line]
}

function breakWord(word: string, columns: number): string[] {
  const pieces: string[] = []
  let rest = word
  while (displayWidth(rest) > columns) {
    const piece = beginning(rest, columns)
    pieces.push(piece)
    rest = rest.slice(piece.length)
  }
  return [...pieces, rest]
}

/** The longest beginning of `text` that takes at most `columns`, and at least one character. */
function beginning(text: string, columns: number): string {
  let kept = ''
  for (const character of text) {
    if (kept !== '' && displayWidth(kept + character) > columns) break
    kept += character
  }
  return kept
}

/** A duration as a person reads it: `0:07`, `12:05`, `1:02:03`. */
export function clock(milliseconds: number): string {
  const total = Math.max(0, Math.floor(milliseconds / 1000))
  const seconds = String(total % 60).padStart(2, '0')
  const minutes = Math.floor(total / 60) % 60
  const hours = Math.floor(total / 3600)
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`
}
