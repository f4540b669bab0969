import { sha256Hex } from '../../base/digest.ts'
import { GuestError } from '../../base/errors.ts'
import { LONGEST_LINE } from './agent.ts'
import type { Exchange } from './exchange.ts'
import { type Frame, type Output, OutputLines, type OutputSummary, type Status } from './frames.ts'

/** What the harness asks of the agent (see agent.ts); lost or damaged answers are asked for again, within bounds. */

/** An answer that needs no command to end should come within this; under emulation a process start takes 10 ms. */
const ANSWER_MS = 5000
/** After a damaged answer, how long to wait for a whole one: answers that matter come three times. */
const REPEAT_MS = 300
const ATTEMPTS = 6
/** Rounds of asking for lines that bring none: the fewer are missing, the cheaper and the likelier such a round. */
const FETCH_ATTEMPTS = 40
/** Base64 characters of one piece of an upload. */
const PIECE = 880
/** Pieces typed before an acknowledgement is asked for: together below what a terminal holds, 4096 bytes. */
const PIECES_AT_ONCE = 3

export function protocolError(problem: string): GuestError {
  return new GuestError(`cannot talk to the shell in the guest: ${problem}`, { code: 'protocol' })
}

/** Sends until an answer satisfies `accept`; other answers are passed over. */
async function ask<Answer>(
  exchange: Exchange,
  request: {
    readonly lines: readonly string[]
    readonly repeat: readonly string[]
    readonly what: string
    readonly attempts?: number
    /** `lines` hold one, `repeat` does not. */
    readonly secret?: boolean
  },
  accept: (frame: Frame) => Answer | undefined,
): Promise<Answer> {
  const attempts = request.attempts ?? ATTEMPTS
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await exchange.send(...request.repeat)
    else if (request.secret) await exchange.sendSecret(...request.lines)
    else await exchange.send(...request.lines)
    let frame = await exchange.next(ANSWER_MS)
    while (frame) {
      const answer = accept(frame)
      if (answer !== undefined) return answer
      frame = await exchange.next(frame.kind === 'damaged' ? REPEAT_MS : ANSWER_MS)
    }
  }
  throw protocolError(`${request.what} was not answered, ${attempts} attempts`)
}

/** Makes the agent compute the marker from the nonce. */
export async function begin(exchange: Exchange, options: { readonly attempts?: number } = {}): Promise<void> {
  const lines = [`k ${exchange.framing.nonce}`]
  await ask(exchange, { lines, repeat: lines, what: 'the beginning of a command', ...options }, (frame) =>
    frame.kind === 'begun' ? true : undefined,
  )
}

/** Types `bytes` as pieces of base64, a few at a time, from where the agent says it is. */
export async function upload(
  exchange: Exchange,
  bytes: Uint8Array,
  { secret = false }: { readonly secret?: boolean } = {},
): Promise<void> {
  const base64 = Buffer.from(bytes).toString('base64')
  const count = Math.ceil(base64.length / PIECE)
  let arrived = 0
  let stalled = 0
  while (arrived < count) {
    const lines: string[] = []
    for (let piece = arrived; piece < Math.min(count, arrived + PIECES_AT_ONCE); piece++) {
      const line = `w ${piece} ${base64.slice(piece * PIECE, (piece + 1) * PIECE)}`
      if (line.length >= LONGEST_LINE)
        throw protocolError(`piece ${piece} of an upload is too long to be typed`)
      lines.push(line)
    }
    const what = `piece ${arrived} of an upload`
    const request = { lines: [...lines, 'a'], repeat: ['a'], what, secret }
    const before = arrived
    arrived = await ask(exchange, request, (frame) =>
      frame.kind === 'pieces' && frame.count >= before && frame.count <= count ? frame.count : undefined,
    )
    stalled = arrived > before ? 0 : stalled + 1
    if (stalled > ATTEMPTS) throw protocolError(`piece ${arrived} of an upload does not arrive`)
  }
}

/** Uploads the command's standard input; a secret one leaves no trace in the transcript but its length. */
export async function giveInput(
  exchange: Exchange,
  input: Uint8Array,
  options: { readonly secret?: boolean } = {},
): Promise<void> {
  const digest = sha256Hex(input)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    await upload(exchange, input, options)
    const lines = [`i ${digest}`]
    const got = await ask(exchange, { lines, repeat: lines, what: 'the end of an upload' }, (frame) =>
      frame.kind === 'input' ? frame.digest : undefined,
    )
    if (got === digest) return
  }
  throw protocolError(`the input of ${input.length} bytes does not arrive as it was sent`)
}

/** Uploads a script and runs it; undefined where it has not ended within `timeoutMs`. */
export async function execute(
  exchange: Exchange,
  script: string,
  timeoutMs: number,
): Promise<Status | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const started = await start(exchange, script)
    if (started === 'running') return waitForStatus(exchange, sha256Hex(script), timeoutMs)
    if (started !== 'refused') return started
  }
  throw protocolError('a command does not arrive as it was sent')
}

/** Uploads a script and makes the agent run it; a status where it has ended already. */
export async function start(exchange: Exchange, script: string): Promise<'running' | 'refused' | Status> {
  await upload(exchange, Buffer.from(script))
  const lines = [`x ${sha256Hex(script)}`]
  return ask<'running' | 'refused' | Status>(
    exchange,
    { lines, repeat: lines, what: 'the start of a command' },
    (frame) => {
      if (frame.kind === 'running' || frame.kind === 'refused') return frame.kind
      return frame.kind === 'status' ? frame.status : undefined
    },
  )
}

async function waitForStatus(
  exchange: Exchange,
  digest: string,
  timeoutMs: number,
): Promise<Status | undefined> {
  const deadline = performance.now() + timeoutMs
  let damaged = false
  for (;;) {
    const left = deadline - performance.now()
    if (left <= 0) return undefined
    const frame = await exchange.next(damaged ? Math.min(left, REPEAT_MS) : left)
    if (frame?.kind === 'status') return frame.status
    // Only a trace of an answer makes it safe to type: the command has ended, so nobody else reads the console.
    if (!frame && damaged) await exchange.send(`x ${digest}`)
    damaged = frame?.kind === 'damaged'
  }
}

/** Fetches one output, asking again for the lines that were hit. */
export async function fetch(exchange: Exchange, output: Output, summary: OutputSummary): Promise<Buffer> {
  const lines = new OutputLines(summary)
  let stalled = 0
  while (stalled < FETCH_ATTEMPTS) {
    const before = lines.missing
    if (before > 0) {
      await exchange.send(`f ${output} ${lines.missingRanges(LONGEST_LINE - 10)}`)
      await collect(exchange, output, lines)
    }
    if (lines.missing === 0) {
      const bytes = lines.bytes()
      if (bytes) return bytes
      stalled += 1
    } else stalled = lines.missing < before ? 0 : stalled + 1
  }
  throw protocolError(`${lines.missing} lines of output never arrived whole`)
}

async function collect(exchange: Exchange, output: Output, lines: OutputLines): Promise<void> {
  let patience = ANSWER_MS
  while (lines.missing > 0) {
    const first = await exchange.next(patience)
    if (!first) return
    for (const frame of [first, ...exchange.takeAll()]) {
      patience = frame.kind === 'damaged' ? REPEAT_MS : ANSWER_MS
      if (frame.kind === 'line' && frame.output === output) lines.add(frame.number, frame.base64)
      if (frame.kind === 'fetched' && frame.output === output) return
    }
  }
}
