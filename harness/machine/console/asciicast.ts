import { createReadStream, createWriteStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import type { TranscriptFiles } from './transcript.ts'

/** Longest single read of the raw file; a longer burst becomes several events of the same time. */
const SLICE = 64 * 1024

export interface AsciicastOptions {
  readonly columns?: number
  readonly rows?: number
  readonly title?: string
  /** When the recording began. */
  readonly startedAt?: Date
}

/** One `[milliseconds, bytes]` line; undefined where it is damaged, as the last one of a killed run may be. */
function parseTime(line: string): { readonly ms: number; readonly bytes: number } | undefined {
  const match = /^\[(\d+(?:\.\d+)?),(\d+)\]$/.exec(line)
  return match ? { ms: Number(match[1]), bytes: Number(match[2]) } : undefined
}

async function* asciicastLines(
  files: Pick<TranscriptFiles, 'raw' | 'times'>,
  options: AsciicastOptions,
): AsyncGenerator<string> {
  const header = {
    version: 2,
    width: options.columns ?? 80,
    height: options.rows ?? 24,
    ...(options.startedAt && { timestamp: Math.floor(options.startedAt.getTime() / 1000) }),
    ...(options.title !== undefined && { title: options.title }),
  }
  yield `${JSON.stringify(header)}\n`
  // Guest output is hostile: what is no UTF-8 becomes U+FFFD, and characters cut between reads are joined.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  const raw = await open(files.raw, 'r')
  try {
    const buffer = Buffer.alloc(SLICE)
    let seconds = 0
    for await (const line of createInterface({ input: createReadStream(files.times) })) {
      const time = parseTime(line)
      if (!time) continue
      seconds = time.ms / 1000
      for (let left = time.bytes; left > 0; ) {
        const { bytesRead } = await raw.read(buffer, 0, Math.min(left, SLICE))
        if (bytesRead === 0) break
        left -= bytesRead
        const text = decoder.decode(buffer.subarray(0, bytesRead), { stream: true })
        if (text !== '') yield `${JSON.stringify([seconds, 'o', text])}\n`
      }
    }
    const rest = decoder.decode()
    if (rest !== '') yield `${JSON.stringify([seconds, 'o', rest])}\n`
  } finally {
    await raw.close()
  }
}

/**
 * Writes an asciicast v2 file that replays a transcript at the pace the guest had. The output is for a terminal
 * player: it holds the guest's escape sequences as they were.
 */
export async function writeAsciicast(
  files: Pick<TranscriptFiles, 'raw' | 'times'>,
  output: string,
  options: AsciicastOptions = {},
): Promise<void> {
  await pipeline(asciicastLines(files, options), createWriteStream(output, { mode: 0o600 }))
}
