/** A console's transcript as plain lines with their times: what a page shows, never what drives a terminal. */
import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { escapeControls } from '../../base/text.ts'
import { ConsoleText, MOST_EXTRA_BYTES } from '../../machine/console/clean.ts'
import type { ConsoleRecord } from '../html/data.ts'

/** Of a console that made noise its begin and its end are shown; the file has all of it. */
const HEAD_BYTES = 512 * 1024
const TAIL_BYTES = 1024 * 1024
const LONGEST_LINE = 2000
/** One line a millisecond with output: four hours of them. */
const LARGEST_TIMES = 256 * 1024 * 1024
const LF = 0x0a

type Shown = Pick<ConsoleRecord, 'lines' | 'steps' | 'omitted'>

/** `raw`: what openTranscript names; its times lie beside it. Throws what reading throws. */
export async function readConsole(raw: string): Promise<Shown> {
  const { size } = await stat(raw)
  const times = await readTimes(raw.replace(/raw$/, 'times'))
  const isWhole = size <= HEAD_BYTES + TAIL_BYTES
  const ranges: readonly Range[] = isWhole
    ? [{ from: 0, to: size }]
    : [
        { from: 0, to: HEAD_BYTES },
        { from: size - TAIL_BYTES, to: size },
      ]
  await using file = await open(raw, 'r')
  const parts: TimedLines[] = []
  for (const range of ranges) parts.push(await readRange(file, range, times))
  const lines = parts.flatMap((part) => part.lines)
  const at = parts.flatMap((part) => part.at)
  return {
    lines,
    steps: at.map((ms, index) => Math.max(0, ms - (at[index - 1] ?? 0))),
    ...(!isWhole && {
      omitted: { bytes: size - HEAD_BYTES - TAIL_BYTES, at: parts[0]?.lines.length ?? 0 },
    }),
  }
}

interface Range {
  readonly from: number
  readonly to: number
}

interface TimedLines {
  readonly lines: readonly string[]
  /** Milliseconds since the console was opened. */
  readonly at: readonly number[]
}

async function readRange(file: FileHandle, { from, to }: Range, times: Times): Promise<TimedLines> {
  const bytes = Buffer.alloc(to - from)
  await file.read(bytes, 0, bytes.length, from)
  const cleaner = new ConsoleText()
  const target = Buffer.alloc(bytes.length + MOST_EXTRA_BYTES)
  const lines: string[] = []
  const at: number[] = []
  let written = 0
  const end = (ms: number): void => {
    lines.push(shown(target.subarray(0, written)))
    at.push(ms)
    written = 0
  }
  for (const chunk of chunksOf(bytes, from, times)) {
    const fresh = cleaner.write(chunk.bytes, target, written)
    let start = 0
    const limit = written + fresh
    // Of this chunk's bytes each is looked at once: a guest can print a megabyte byte by byte, without a line feed.
    const known = target.subarray(0, limit)
    for (let lf = known.indexOf(LF, written); lf >= 0; lf = known.indexOf(LF, lf + 1)) {
      lines.push(shown(target.subarray(start, lf)))
      at.push(chunk.ms)
      start = lf + 1
    }
    if (start > 0) target.copyWithin(0, start, limit)
    written = limit - start
  }
  if (written > 0) end(at.at(-1) ?? times.at(-1)?.ms ?? 0)
  return { lines, at }
}

function shown(line: Buffer): string {
  const text = escapeControls(line.subarray(0, LONGEST_LINE))
  return line.length > LONGEST_LINE ? `${text}… (${line.length - LONGEST_LINE} bytes more)` : text
}

type Times = readonly { readonly ms: number; readonly end: number }[]

/** Pieces of what was read that came at one time each. */
function* chunksOf(
  bytes: Buffer,
  offset: number,
  times: Times,
): Generator<{ readonly bytes: Buffer; readonly ms: number }> {
  let start = 0
  for (const { ms, end } of times) {
    const stop = Math.min(bytes.length, end - offset)
    if (stop <= start) continue
    yield { bytes: bytes.subarray(start, stop), ms }
    start = stop
  }
  // Of a harness that was killed: bytes reach their file before their times do.
  if (start < bytes.length) yield { bytes: bytes.subarray(start), ms: times.at(-1)?.ms ?? 0 }
}

/** When each byte was there: `end` is the offset behind the bytes that came at `ms`. Damaged lines are left out. */
async function readTimes(file: string): Promise<Times> {
  const about = await stat(file).catch(() => undefined)
  if (about === undefined || about.size > LARGEST_TIMES) return []
  const times: { ms: number; end: number }[] = []
  let end = 0
  for (const line of (await readFile(file, 'latin1')).split('\n')) {
    const [, ms, count] = /^\[(\d{1,15})(?:\.\d+)?,(\d{1,15})\]$/.exec(line) ?? []
    if (ms === undefined || count === undefined) continue
    end += Number(count)
    times.push({ ms: Number(ms), end })
  }
  return times
}
