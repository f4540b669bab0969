/**
 * What is spoken on the virtio-serial port `org.attestbed.tsm`, line by line, so that a POSIX shell can (README.md).
 * Pure. The guest is hostile: no line of its makes more work than the longest that has a meaning.
 */
import type { EmulatedProcessor, TeeAnswer } from './processor.ts'

/** As the guest finds it in /dev/virtio-ports. */
export const TSM_PORT_NAME = 'org.attestbed.tsm'

export const REPORT_DATA_BYTES = 64
/** `report `, 128 digits; a line of this many bytes is a mistake already. */
const LONGEST_LINE = 256

export type TsmRequest = { readonly reportData: Buffer } | { readonly mistake: string }

/** A line without its end. */
export function parseTsmRequest(line: string): TsmRequest {
  const [, digits] = /^report ([0-9a-f]*)$/.exec(line) ?? []
  if (digits === undefined)
    return { mistake: 'the one request is: report, a blank, 128 lower-case hex digits' }
  if (digits.length !== 2 * REPORT_DATA_BYTES)
    return { mistake: `REPORT_DATA has ${digits.length} digits, ${2 * REPORT_DATA_BYTES} are required` }
  return { reportData: Buffer.from(digits, 'hex') }
}

/** `generation`: of how many reports since the port was opened this is the last, as configfs-tsm counts. */
export function encodeTsmAnswer(
  { provider }: Pick<EmulatedProcessor, 'provider'>,
  { outblob, auxblob }: TeeAnswer,
  generation: number,
): string {
  const lines = [
    `provider ${provider}`,
    `outblob ${outblob.toString('base64')}`,
    `auxblob ${auxblob.toString('base64')}`,
    `generation ${generation}`,
    'end',
  ]
  return `${lines.join('\n')}\n`
}

/** `words`: one line of printable ASCII. */
export function encodeTsmError(words: string): string {
  return `error ${words.replaceAll(/[^\x20-\x7e]/g, '?')}\n`
}

/** Cuts a stream into requests; what it keeps is bounded, whatever comes. */
export class TsmLines {
  #kept = ''
  /** Within a line that is too long: nothing of it is kept. */
  #isOverlong = false

  #keep(part: Uint8Array): void {
    this.#isOverlong ||= this.#kept.length + part.length > LONGEST_LINE
    this.#kept = this.#isOverlong ? '' : this.#kept + Buffer.from(part).toString('latin1')
  }

  /** Whole lines of a chunk, each as a request. */
  *push(chunk: Uint8Array): Generator<TsmRequest> {
    let from = 0
    for (let at = 0; at < chunk.length; at++) {
      if (chunk[at] !== 0x0a) continue
      this.#keep(chunk.subarray(from, at))
      from = at + 1
      yield this.#take()
    }
    this.#keep(chunk.subarray(from))
  }

  #take(): TsmRequest {
    const request = this.#isOverlong
      ? { mistake: `a line has more than ${LONGEST_LINE} bytes` }
      : parseTsmRequest(this.#kept)
    this.#kept = ''
    this.#isOverlong = false
    return request
  }
}
