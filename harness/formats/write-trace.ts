/**
 * QEMU's trace of the writes of all block nodes and of the vTPM's commands, as its log backend prints it (`-trace
 * bdrv_co_pwritev_part -trace tpm_emulator_handle_request -msg timestamp=on`): the one order that several logs of
 * writes have in common. The driver `blklogwrites` adds an entry to its log when a write is done, and that addition is
 * a write of the log's own node, in the trace: its offset says which entry it is.
 */
import { FormatError } from '../base/errors.ts'
import type { WriteLog } from './write-log.ts'

/** One line of QEMU's trace of a block node. */
export type TracedEvent =
  | {
      readonly kind: 'write'
      /** The block node, as QEMU's address of it. */
      readonly node: string
      /** In bytes. */
      readonly offset: number
      readonly size: number
    }
  /** `at`: when QEMU passed it on; milliseconds since the epoch. */
  | { readonly kind: 'tpm-command'; readonly at: number }

const WRITE = /\bbdrv_co_pwritev_part bs (0x[0-9a-f]{1,16}) offset (\d{1,15}) bytes (\d{1,15}) flags/
const TPM_COMMAND = /\btpm_emulator_handle_request\b/
const TIME = /^(\d{4}-\d\d-\d\dT[\d:.]{8,18}Z) tpm_/
/** What the log backend of an older QEMU puts before an event: thread, seconds and microseconds since the epoch. */
const OLDER_TIME = /^\d{1,10}@(\d{1,11})\.(\d{6}):tpm_/
/** An entry that holds no data, or whose data is a write of its own. */
const MOST_EVENTS = 1 << 23

/**
 * Lines of other kinds are passed over. Throws FormatError `too-large`, `bad-value` for a TPM command without a time.
 */
export function parseWriteTrace(trace: string): readonly TracedEvent[] {
  const events: TracedEvent[] = []
  for (let from = 0; from < trace.length; ) {
    const end = trace.indexOf('\n', from)
    // A last line without its end may have been cut off.
    if (end < 0) break
    const event = parseLine(trace.slice(from, end), from)
    if (event) events.push(event)
    if (events.length > MOST_EVENTS)
      throw new FormatError(`cannot read the trace of writes: it has more than ${MOST_EVENTS} events`, {
        ...{ code: 'too-large', field: 'events', offset: from },
      })
    from = end + 1
  }
  return events
}

function parseLine(line: string, offset: number): TracedEvent | undefined {
  const [, node, at, size] = WRITE.exec(line) ?? []
  if (node !== undefined) return { kind: 'write', node, offset: Number(at), size: Number(size) }
  return TPM_COMMAND.test(line) ? { kind: 'tpm-command', at: timeOf(line, offset) } : undefined
}

/** Milliseconds since the epoch; a command without it would be one fewer to order the vTPM's states by. */
function timeOf(line: string, offset: number): number {
  const [, seconds, microseconds] = OLDER_TIME.exec(line) ?? []
  // Microseconds: Date keeps three digits of a second's fraction.
  const at = seconds
    ? Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
    : Date.parse(TIME.exec(line)?.[1] ?? '')
  if (!Number.isNaN(at)) return at
  throw new FormatError(`cannot read the time of a TPM command in the trace, at offset ${offset}`, {
    ...{ code: 'bad-value', field: 'timestamp', offset },
  })
}

/**
 * The position in `events` at which each entry was added to `log`. Throws FormatError `bad-value` where the trace has
 * no node that was written as the log was, so a trace of another run is noticed. QEMU, block/blklogwrites.c.
 */
export function positionsOf(log: WriteLog, events: readonly TracedEvent[]): readonly number[] {
  for (const positions of placesByNode(log.sectorSize, events).values()) {
    const found = log.writes.map(({ at, data, kind }) => {
      // What writes zeros has them logged by a second write.
      const sizes = kind === 'write' ? [data.length, 0] : [0]
      return sizes
        .map((size) => positions.get(`${at}:${size + log.sectorSize}`))
        .find((each) => each !== undefined)
    })
    if (found.every((position) => position !== undefined)) return found
  }
  const last = log.writes.at(-1)?.at ?? 0
  throw new FormatError(
    `cannot find the log's ${log.writes.length} entries in the trace: no block node was written like it`,
    { code: 'bad-value', field: 'bdrv_co_pwritev_part', offset: last },
  )
}

/** First position of each write behind the log's super block. */
function placesByNode(
  superBytes: number,
  events: readonly TracedEvent[],
): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const nodes = new Map<string, Map<string, number>>()
  for (const [position, event] of events.entries()) {
    if (event.kind !== 'write' || event.offset < superBytes) continue
    const places = nodes.get(event.node) ?? new Map<string, number>()
    nodes.set(event.node, places)
    const place = `${event.offset}:${event.size}`
    if (!places.has(place)) places.set(place, position)
  }
  return nodes
}
