/** Takes secrets out of bytes of any kind, and says what it took. */
import { LONGEST_SECRET, SECRET_KINDS, type SecretKind, type SecretPattern, type Span } from './secrets.ts'

export type ScrubCounts = Readonly<Partial<Record<SecretKind, number>>>

/** As many as the secret had bytes: offsets, lengths and times of a transcript stay true, and JSON stays JSON. */
const MASK = '*'.charCodeAt(0)
const WINDOW_BYTES = 8 * 2 ** 20
/** Larger ones are disks, whose texts in UTF-16 are nobody's configuration. */
const MOST_WIDE_BYTES = 8 * 2 ** 20

/**
 * Masks every secret in place: as bytes, and as UTF-16 (little endian, as firmware keeps its variables). Linear in the
 * number of bytes. Returns how often each kind was found; empty where there was nothing.
 */
export function scrub(bytes: Uint8Array, patterns: readonly SecretPattern[]): ScrubCounts {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const counts = new Map<SecretKind, number>()
  const hide = (kind: SecretKind, span: Span, step: 1 | 2, offset: number): void => {
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    for (let at = span.start; at < span.end; at++) buffer[offset + at * step] = MASK
  }
  // What begins in the overlap is whole in the next window.
  for (const { text, offset, mayContinue } of windows(buffer))
    for (const { kind, find } of patterns)
      for (const span of find(text))
        if (!mayContinue || span.start < text.length - LONGEST_SECRET) hide(kind, span, 1, offset)
  if (buffer.length <= MOST_WIDE_BYTES)
    for (const parity of [0, 1] as const) {
      const text = wideText(buffer, parity)
      for (const { kind, find } of patterns) for (const span of find(text)) hide(kind, span, 2, parity)
    }
  return Object.fromEntries(
    SECRET_KINDS.flatMap((kind) => (counts.has(kind) ? [[kind, counts.get(kind)]] : [])),
  )
}

/** `text` with its secrets masked. */
export function scrubText(text: string, patterns: readonly SecretPattern[]): string {
  const bytes = Buffer.from(text)
  scrub(bytes, patterns)
  return bytes.toString()
}

function* windows(buffer: Buffer): Generator<{ text: string; offset: number; mayContinue: boolean }> {
  for (let offset = 0; ; offset += WINDOW_BYTES - LONGEST_SECRET) {
    const end = Math.min(offset + WINDOW_BYTES, buffer.length)
    const mayContinue = end < buffer.length
    yield { text: buffer.toString('latin1', offset, end), offset, mayContinue }
    if (!mayContinue) return
  }
}

/** Every second byte, where the other one is zero; elsewhere a byte that no pattern takes. */
function wideText(buffer: Buffer, parity: 0 | 1): string {
  const length = Math.max(0, Math.floor((buffer.length - parity) / 2))
  const narrow = Buffer.alloc(length)
  for (let index = 0; index < length; index++) {
    const at = parity + index * 2
    narrow[index] = buffer[at + 1] === 0 ? (buffer[at] ?? 0xff) : 0xff
  }
  return narrow.toString('latin1')
}
