/** What passed between a guest and its vTPM, read from swtpm's log. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { tpmCommandName } from './command-names.ts'

export interface TpmCommand {
  /** TPM_CC. */
  readonly commandCode: number
  /** `TPM2_Unseal`; `TPM_CC 0x20000000` for a code without a name. */
  readonly name: string
  /** TPM_RC; 0 is success, undefined when swtpm ended before it answered. */
  readonly responseCode: number | undefined
  /** Bytes of the command and of its response. */
  readonly commandBytes: number
  readonly responseBytes: number
}

interface Frame {
  readonly direction: 'command' | 'response'
  readonly length: number
  /** The 10 bytes of the header: tag, size, code. */
  head: string
}

/** `SWTPM_IO_Read` is what swtpm read: a command. */
const FRAME = /^\s*SWTPM_IO_(Read|Write): length (\d+)$/
const HEX_LINE = /^\s*((?:[0-9A-F]{2} ?)+)$/
const HEADER_DIGITS = 20
const CODE_DIGITS = 12

/**
 * The commands of a log that `startSwtpm` was asked to write, in order. Only codes and lengths are taken from it:
 * what the commands carry, secrets included, is left in the file.
 */
export async function readTpmCommandLog(file: string): Promise<TpmCommand[]> {
  const lines = createInterface({
    input: createReadStream(file, 'latin1'),
    crlfDelay: Number.POSITIVE_INFINITY,
  })
  const commands: TpmCommand[] = []
  let asked: Frame | undefined
  for await (const frame of frames(lines)) {
    if (asked) commands.push(commandOf(asked, frame.direction === 'response' ? frame : undefined))
    asked = frame.direction === 'command' ? frame : undefined
  }
  if (asked) commands.push(commandOf(asked))
  return commands
}

async function* frames(lines: AsyncIterable<string>): AsyncGenerator<Frame> {
  let frame: Frame | undefined
  for await (const line of lines) {
    const start = FRAME.exec(line)
    if (start) {
      if (frame) yield frame
      frame = { direction: start[1] === 'Read' ? 'command' : 'response', length: Number(start[2]), head: '' }
    } else if (frame && frame.head.length < HEADER_DIGITS) {
      frame.head += (HEX_LINE.exec(line)?.[1] ?? '').replaceAll(' ', '')
    }
  }
  if (frame) yield frame
}

function commandOf(asked: Frame, answered?: Frame): TpmCommand {
  const commandCode = codeOf(asked)
  return {
    commandCode,
    name: tpmCommandName(commandCode) ?? `TPM_CC 0x${commandCode.toString(16)}`,
    responseCode: answered && codeOf(answered),
    commandBytes: asked.length,
    responseBytes: answered?.length ?? 0,
  }
}

/** A header that the end of swtpm cut short has the code that no command and no response has: 0xffffffff. */
function codeOf(frame: Frame): number {
  if (frame.head.length < HEADER_DIGITS) return 0xffffffff
  return Number.parseInt(frame.head.slice(CODE_DIGITS, HEADER_DIGITS), 16)
}
